//! Names of files, and contestants that cannot do it.

use super::{has_no_value, slug};

#[test]
fn machines_have_names_for_files() {
    assert_eq!(slug("Some(R) CPU X-5 @ 2.10GHz"), "some-r-cpu-x-5-2-10ghz");
    assert_eq!(slug("0xd0c"), "0xd0c");
}

#[test]
fn who_has_no_value_is_known() {
    let with = "{\"row\":\"B1\",\"value\":1.5}\n";
    let without = "{\"row\": \"B1\", \"value\": null, \"failed\": \"hangs\"}\n";
    assert!(has_no_value(without));
    assert!(has_no_value(""));
    assert!(!has_no_value(with));
    assert!(!has_no_value(&format!("{without}{with}")));
}
