//! The sysctls of one link: `net.ipv4.conf.LINK`, `net.ipv6.conf.LINK` and so on. They are reset to the
//! namespace's defaults when the link enters it (`inetdev_init()` in `net/ipv4/devinet.c`, `ipv6_add_dev()`
//! in `net/ipv6/addrconf.c`, `neigh_parms_alloc()` in `net/core/neighbour.c`).

use std::{collections::BTreeMap, fs, io, os::unix::fs::PermissionsExt, path::Path};

use crate::{Error, Host, LinkName, Subject};

/// Directories with one directory for each link.
const DIRECTORIES: [&str; 5] = ["ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh", "mpls/conf"];
const ROOT: &str = "/proc/sys/net";

impl Host {
    /// Reads the writable sysctls of a link, by their path below `net` with `*` in place of the link's name
    /// (`ipv4/conf/*/rp_filter`). Unreadable ones are left out, such as IPv6's `stable_secret` before it is
    /// set.
    ///
    /// # Errors
    /// [`Error::Refused`] if `/proc/sys` cannot be read.
    pub fn sysctls(&mut self, link: &LinkName) -> Result<BTreeMap<String, String>, Error> {
        let mut sysctls = BTreeMap::new();
        for directory in DIRECTORIES {
            let path = Path::new(ROOT).join(directory).join(link.as_ref());
            let mut list = || -> io::Result<()> {
                for entry in fs::read_dir(&path)? {
                    let entry = entry?;
                    if entry.metadata()?.permissions().mode() & 0o200 != 0
                        && let Ok(value) = fs::read_to_string(entry.path())
                        && let Ok(name) = entry.file_name().into_string()
                    {
                        sysctls.insert(format!("{directory}/*/{name}"), value.trim_end().to_owned());
                    }
                }
                Ok(())
            };
            match list() {
                // A kernel without the protocol, or a link without it: IPv6 with an MTU below 1280.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                listed => listed.map_err(Error::refused("list the sysctls", Subject::Path(path.clone())))?,
            }
        }
        Ok(sysctls)
    }

    /// Sets a sysctl of a link, by the path that [`sysctls`](Self::sysctls) returns.
    pub fn set_sysctl(&mut self, link: &LinkName, sysctl: &str, value: &str) -> Result<(), Error> {
        let path = Path::new(ROOT).join(sysctl.replacen('*', link.as_ref(), 1));
        fs::write(&path, value).map_err(Error::refused("set a sysctl", Subject::Path(path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Pair;

    #[test]
    fn a_sysctl_is_read_as_it_was_set() {
        let Some(pair) = Pair::create() else { return };
        let sysctl = "ipv4/conf/*/rp_filter";
        let set = |value| {
            pair.at_near(move |host, index| {
                let name = host.link_by_index(index)?.name;
                host.set_sysctl(&name, sysctl, value)?;
                host.sysctls(&name)
            })
            .unwrap()
        };
        assert_eq!(set("2").get(sysctl).map(String::as_str), Some("2"));
        let sysctls = set("0");
        assert_eq!(sysctls.get(sysctl).map(String::as_str), Some("0"));
        assert!(sysctls.contains_key("ipv4/neigh/*/gc_stale_time"));
        // A read-only sysctl.
        assert!(!sysctls.contains_key("ipv4/conf/*/mc_forwarding"));
    }

    #[test]
    fn an_unknown_sysctl_is_refused() {
        let Some(pair) = Pair::create() else { return };
        let refused = pair.at_near(|host, index| {
            let name = host.link_by_index(index)?.name;
            host.set_sysctl(&name, "ipv4/conf/*/none", "1")
        });
        assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    }
}
