//! Tests of the comment and text remover.

use super::code;

#[test]
fn takes_comments_out() {
    assert_eq!(code("a // b\nc"), "a     \nc");
    assert_eq!(code("a /* /* b */\n */ c"), "a           \n    c");
    assert_eq!(code("/// doc\nx"), "       \nx");
}

#[test]
fn takes_texts_out() {
    assert_eq!(code(r#"f("a // \" b")"#), r#"f("_________")"#);
    assert_eq!(code(r###"r#"a " b"# c"###), r###"r#"_____"# c"###);
    assert_eq!(code(r#"br"\" c"#), r#"br"_" c"#);
    assert_eq!(code("\"a\nb\" c"), "\"_\n_\" c");
}

#[test]
fn tells_characters_from_lifetimes() {
    assert_eq!(code("'\"' + '\\'' x"), "'_' + '__' x");
    assert_eq!(code("fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
    assert_eq!(code("b'/' // c"), "b'_'     ");
}

#[test]
fn keeps_raw_identifiers_and_survives_open_ends() {
    assert_eq!(code("r#fn r br"), "r#fn r br");
    assert_eq!(code("\"abc"), "\"___");
    assert_eq!(code("\"\\"), "\"_");
    assert_eq!(code("/* x"), "    ");
    assert_eq!(code("r#\"x"), "r#\"_");
}
