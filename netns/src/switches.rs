//! The kernel's switches for one link: `net.ipv4.conf.LINK`, `net.ipv6.conf.LINK`, and those of neighbours. They begin anew
//! from the namespace's defaults when the link enters it (`inetdev_init()` of `net/ipv4/devinet.c`, `ipv6_add_dev()` of
//! `net/ipv6/addrconf.c`, `neigh_parms_alloc()` of `net/core/neighbour.c`).

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{Error, Host, LinkName, Subject};

/// Directories with one directory a link.
const DIRECTORIES: [&str; 5] = ["ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh", "mpls/conf"];
const ROOT: &str = "/proc/sys/net";

impl Host {
    /// The switches of a link that can be written, by their path below `net` with `*` in the place of its name
    /// (`ipv4/conf/*/rp_filter`). One that cannot be read, as IPv6's secret while there is none, is left out.
    ///
    /// # Errors
    /// [`Error::Refused`] if `/proc/sys` cannot be read.
    pub fn switches(&mut self, link: &LinkName) -> Result<BTreeMap<String, String>, Error> {
        let mut switches = BTreeMap::new();
        for directory in DIRECTORIES {
            let path = Path::new(ROOT).join(directory).join(link.as_ref());
            let mut list = || {
                for entry in fs::read_dir(&path)? {
                    let entry = entry?;
                    if entry.metadata()?.permissions().mode() & 0o200 == 0 {
                        continue;
                    }
                    if let (Ok(value), Ok(name)) =
                        (fs::read_to_string(entry.path()), entry.file_name().into_string())
                    {
                        switches.insert(format!("{directory}/*/{name}"), value.trim_end().to_owned());
                    }
                }
                Ok(())
            };
            match list() {
                // A kernel without that family, or a link that has nothing of it: of IPv6 with an MTU below 1280.
                Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => {}
                listed => listed.map_err(Error::refused("list the switches", Subject::Path(path.clone())))?,
            }
        }
        Ok(switches)
    }

    /// Sets a switch of a link, named as [`switches`](Self::switches) names it.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn set_switch(&mut self, link: &LinkName, switch: &str, value: &str) -> Result<(), Error> {
        let path: PathBuf = Path::new(ROOT).join(switch.replacen('*', link.as_ref(), 1));
        fs::write(&path, value).map_err(Error::refused("set a switch", Subject::Path(path.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Pair;

    #[test]
    fn a_switch_reads_back_as_it_was_set() {
        let Some(pair) = Pair::create() else { return };
        let switch = "ipv4/conf/*/rp_filter";
        let set = |value| {
            pair.at_near(move |host, index| {
                let name = host.link_by_index(index)?.name;
                host.set_switch(&name, switch, value)?;
                host.switches(&name)
            })
            .unwrap()
        };
        assert_eq!(set("2").get(switch).map(String::as_str), Some("2"));
        let switches = set("0");
        assert_eq!(switches.get(switch).map(String::as_str), Some("0"));
        assert!(switches.contains_key("ipv4/neigh/*/gc_stale_time"));
        // It cannot be written.
        assert!(!switches.contains_key("ipv4/conf/*/mc_forwarding"));
    }

    #[test]
    fn a_switch_that_does_not_exist_is_refused() {
        let Some(pair) = Pair::create() else { return };
        let refused = pair.at_near(|host, index| {
            let name = host.link_by_index(index)?.name;
            host.set_switch(&name, "ipv4/conf/*/none", "1")
        });
        assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    }
}
