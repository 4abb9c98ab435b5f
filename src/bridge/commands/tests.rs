//! Tests of what the families share, and of their answers over a fake kernel.

use super::*;

#[test]
fn numbers_as_atoi_reads_them() {
    for (text, number) in
        [("5", 5), ("5x", 5), (" 7", 7), ("-1", -1), ("+3", 3), ("x", 0), ("", 0), ("-", 0)]
    {
        assert_eq!(leading_number(text), number, "{text:?}");
    }
}
