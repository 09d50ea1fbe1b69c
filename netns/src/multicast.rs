//! Link-layer group addresses of a link that someone has set (`ip maddr add`). The protocols' own follow from their addresses.

use std::{fs, path::Path};

use crate::{Error, Host, IfIndex, MacAddr, Subject, sys};

/// Group addresses of the links of the calling thread's namespace (`dev_mc_seq_show()` in `net/core/dev_addr_lists.c`): index, name,
/// references, those of them that someone has set, and the address.
const LIST: &str = "/proc/thread-self/net/dev_mcast";

impl Host {
    /// Lists the group addresses that someone has set at a link.
    pub fn multicast_addresses(&mut self, index: IfIndex) -> Result<Vec<MacAddr>, Error> {
        let refused = Error::refused("list group addresses", Subject::Path(Path::new(LIST).into()));
        let text = fs::read_to_string(LIST).map_err(refused)?;
        Ok(text.lines().filter_map(|line| parse(line, index)).collect())
    }

    /// Sets a group address at a link.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EEXIST` if it is set already, `EINVAL` if the link does not filter group addresses.
    pub fn add_multicast_address(&mut self, index: IfIndex, address: MacAddr) -> Result<(), Error> {
        self.link_ioctl("add a group address", index, |socket, link| {
            sys::add_multicast(socket, link, address)
        })
    }
}

/// Returns the address of a line, if it is one that someone has set at the link.
fn parse(line: &str, index: IfIndex) -> Option<MacAddr> {
    let mut words = line.split_whitespace();
    let is_at_link = words.next()?.parse() == Ok(index.get());
    let is_set = words.nth(2)?.parse::<u32>().is_ok_and(|references| references > 0);
    let mut bytes = [0; 6];
    hex::decode_to_slice(words.next()?, &mut bytes).ok()?;
    (is_at_link && is_set).then_some(MacAddr(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Pair;

    #[test]
    fn only_addresses_that_someone_has_set_at_the_link_are_listed() {
        let index = IfIndex::new(4).unwrap();
        let own = "4    eth0            1     1     01005e000009";
        assert_eq!(parse(own, index), Some(MacAddr([1, 0, 0x5e, 0, 0, 9])));
        for other in [
            "4    eth0            1     0     333300000001",
            "5    eth1            1     1     01005e000009",
            "",
        ] {
            assert_eq!(parse(other, index), None);
        }
    }

    #[test]
    fn an_address_that_was_set_is_listed() {
        let Some(pair) = Pair::create() else { return };
        let address = MacAddr([1, 0, 0x5e, 0, 0, 9]);
        let listed = pair
            .at_near(move |host, index| {
                host.add_multicast_address(index, address)?;
                host.multicast_addresses(index)
            })
            .unwrap();
        assert_eq!(listed, [address]);
    }
}
