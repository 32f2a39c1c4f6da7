// Two bfloat16 lie in a word, the first in its low half; widening one is a shift, since it is the high half of an f32.
fn bf16_low(word: u32) -> f32 {
    return bitcast<f32>(word << 16u);
}

fn bf16_high(word: u32) -> f32 {
    return bitcast<f32>(word & 0xffff0000u);
}

// Element i of an array, given the word i/2 that it lies in.
fn bf16_of(word: u32, i: u32) -> f32 {
    return bitcast<f32>(select(word << 16u, word & 0xffff0000u, (i & 1u) == 1u));
}
