//! A closure that captures is refused by the compiler, which names what is captured.

#[test]
fn capture_is_refused() {
    trybuild::TestCases::new().compile_fail("tests/fail/*.rs");
}
