//! Tests of the argument reader.

use super::Args;

fn args(text: &str) -> Args {
    Args::new(text.split_whitespace().map(str::to_owned))
}

#[test]
fn takes_flags_and_values_and_refuses_the_rest() {
    let mut args = args("--quick --layer pool --seconds=5 extra");
    assert!(args.flag("--quick"));
    assert!(!args.flag("--quick"));
    assert_eq!(args.value("--layer").unwrap(), Some("pool".to_owned()));
    assert_eq!(args.value("--seconds").unwrap(), Some(5_u64));
    assert_eq!(args.value::<u64>("--seconds").unwrap(), None);
    assert!(args.finish().is_err());
}

#[test]
fn refuses_a_missing_or_unreadable_value() {
    assert!(args("--layer").value::<String>("--layer").is_err());
    assert!(args("--seconds x").value::<u64>("--seconds").is_err());
}
