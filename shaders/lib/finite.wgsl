// Whether x is neither infinite nor NaN. A shader may be compiled as if no such values existed, so it looks at the
// exponent's bits.
fn finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}
