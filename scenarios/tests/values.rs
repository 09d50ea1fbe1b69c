//! Values of scenario files and results: parsed as documented, and printed as they are parsed.

use xdproof_scenarios::{
    Bits, EtherType, Expectation, Hex, KernelRange, KernelVersion, MacAddr, Options, ScenarioId, VlanId,
};

#[test]
fn a_field_holds_its_largest_value_and_nothing_above() {
    assert_eq!(VlanId::new(4095).map(VlanId::get), Some(4095));
    assert_eq!(VlanId::new(4096), None);
    assert_eq!(Bits::<u8, 3>::new(8), None);
    assert_eq!(Bits::<u32, 20>::MAX, 0xf_ffff);
}

#[test]
fn an_address_reads_back_as_it_prints() {
    let text = "02:00:5e:10:00:fe";
    assert_eq!(text.parse::<MacAddr>().unwrap().to_string(), text);
    for wrong in [
        "",
        "02:00:00:00:00",
        "02:00:00:00:00:01:02",
        "2:0:0:0:0:1",
        "02:00:00:00:00:0g",
        "+2:00:00:00:00:01",
    ] {
        assert!(wrong.parse::<MacAddr>().is_err(), "{wrong}");
    }
}

#[test]
fn hexadecimal_digits_may_be_spaced_and_broken_into_lines() {
    assert_eq!("08 00\n 4500".parse::<Hex>().unwrap().0, [0x08, 0x00, 0x45, 0x00]);
    assert!("080".parse::<Hex>().is_err());
    assert!("zz".parse::<Hex>().is_err());
}

#[test]
fn options_are_whole_words_up_to_forty_bytes() {
    assert_eq!("01".repeat(40).parse::<Options>().unwrap().words(), 10);
    assert!("01".repeat(44).parse::<Options>().is_err());
    assert!("010101".parse::<Options>().is_err());
}

#[test]
fn names_of_ether_types_are_sorted_by_number_and_found_again() {
    let types: Vec<_> = EtherType::names().map(|name| (EtherType::from_name(name).unwrap(), name)).collect();
    assert!(types.is_sorted_by(|a, b| a.0 < b.0));
    assert!(types.iter().all(|(number, name)| number.to_string() == *name));
}

#[test]
fn a_kernel_version_is_what_a_release_begins_with() {
    let version = |major, minor, patch| Some(KernelVersion { major, minor, patch });
    assert_eq!(KernelVersion::from_release("6.12.4-amd64"), version(6, 12, 4));
    assert_eq!(KernelVersion::from_release("6.18.0"), version(6, 18, 0));
    assert_eq!(KernelVersion::from_release("5.4-rc1"), version(5, 4, 0));
    assert_eq!(KernelVersion::from_release("6.1.-odd"), version(6, 1, 0));
    assert_eq!(KernelVersion::from_release("linux"), None);
    assert_eq!("6".parse::<KernelVersion>().ok(), None);
    assert_eq!("6.12.4-amd64".parse::<KernelVersion>().ok(), None);
}

#[test]
fn a_kernel_range_holds_its_first_version_and_not_the_one_behind_it() {
    let contains =
        |range: &str, version: &str| range.parse::<KernelRange>().unwrap().contains(version.parse().unwrap());
    for version in ["6.1", "6.1.12", "6.11.99"] {
        assert!(contains(">=6.1, <6.12", version), "{version}");
    }
    for version in ["6.0.99", "6.12", "6.12.1"] {
        assert!(!contains(">=6.1, <6.12", version), "{version}");
    }
    assert!(contains(">=6.1", "9.0") && contains("<6.1", "5.4"));
    for wrong in ["", "6.1", "=6.1", ">6.1", ">=6.1, >=6.2", ">=6.1, <6.1", ">=6.1,"] {
        assert!(wrong.parse::<KernelRange>().is_err(), "{wrong}");
    }
    assert_eq!(">=6.1,<6.12".parse::<KernelRange>().unwrap().to_string(), ">=6.1, <6.12");
}

#[test]
fn an_id_is_a_path_without_escapes() {
    for sound in ["udp", "vlan/qinq_ipv4_udp", "a/b/c-1.2"] {
        assert_eq!(sound.parse::<ScenarioId>().unwrap().to_string(), sound);
    }
    for wrong in ["", "/udp", "udp/", "a//b", "../a", "a/.b", "A", "a b", "a\\b"] {
        assert!(wrong.parse::<ScenarioId>().is_err(), "{wrong}");
    }
}

#[test]
fn an_expectation_in_json_is_keyed_by_protocol_number_as_a_string() {
    let expected = Expectation { counts: [(0, 1), (17, 4)].into(), passed: 5, dropped: 2 };
    let json = r#"{"counts":{"0":1,"17":4},"passed":5,"dropped":2}"#;
    assert_eq!(serde_json::to_string(&expected).unwrap(), json);
    assert_eq!(serde_json::from_str::<Expectation>(json).unwrap(), expected);
    assert!(serde_json::from_str::<Expectation>(&json.replace("17", "256")).is_err());
}
