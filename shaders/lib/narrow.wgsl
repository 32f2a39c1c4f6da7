// Numbers of two bytes, two in a word, the first in its low half: bfloat16, the high half of an f32, or IEEE binary16.
// All is done on bits, since WGSL lets a conversion round either way and drop what is subnormal.

// The bfloat16 nearest to an f32, ties to even; a NaN is made quiet and keeps its sign and the top of its payload.
fn to_bf16(bits: u32) -> u32 {
    let nearest = (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
    return select(nearest, (bits >> 16u) | 0x40u, (bits & 0x7fffffffu) > 0x7f800000u);
}

// The binary16 nearest to an f32, ties to even. From 65520 on that is infinity, below 2⁻¹⁴ a multiple of 2⁻²⁴.
fn to_f16(bits: u32) -> u32 {
    let sign = (bits >> 16u) & 0x8000u;
    let x = bits & 0x7fffffffu;
    if (x > 0x7f800000u) { return sign | 0x7e00u; }
    if (x >= 0x477ff000u) { return sign | 0x7c00u; }
    if (x >= 0x38800000u) { return sign | ((x - 0x38000000u + 0xfffu + ((x >> 13u) & 1u)) >> 13u); }
    if (x < 0x33000000u) { return sign; }
    let drop = 126u - (x >> 23u);
    let digits = (x & 0x7fffffu) | 0x800000u;
    return sign | ((digits + (1u << (drop - 1u)) - 1u + ((digits >> drop) & 1u)) >> drop);
}

// The f32 equal to the bfloat16 in the low or the high half of a word, or to element i of an array, given the word i/2
// that it lies in.
fn bf16_low(word: u32) -> f32 {
    return bitcast<f32>(word << 16u);
}

fn bf16_high(word: u32) -> f32 {
    return bitcast<f32>(word & 0xffff0000u);
}

fn bf16_of(word: u32, i: u32) -> f32 {
    return bitcast<f32>(select(word << 16u, word & 0xffff0000u, (i & 1u) == 1u));
}

// The same of binary16.
fn f16_low(word: u32) -> f32 {
    let x = word & 0x7fffu;
    let normal = bitcast<f32>(select((x << 13u) + 0x38000000u, (x << 13u) | 0x7f800000u, x >= 0x7c00u));
    let value = select(normal, f32(x) * 5.9604644775390625e-8, x < 0x400u);
    return select(value, -value, (word & 0x8000u) != 0u);
}

fn f16_high(word: u32) -> f32 {
    return f16_low(word >> 16u);
}

fn f16_of(word: u32, i: u32) -> f32 {
    return f16_low(word >> (16u * (i & 1u)));
}
