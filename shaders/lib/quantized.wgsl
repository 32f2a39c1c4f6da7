// Matrices of few bits, stored as engine/quant/matrix.go says: codes first, then what they are scaled by. The file that imports this
// declares FORMAT and word(i), the word i of the matrix. A matrix has `total` values and `cols` in a row; i is the index of a value.
const INT8 = 1u;
const NF4 = 2u;
const NF4_DOUBLE = 3u;
const Q4_0 = 4u;
const Q8_0 = 5u;
const BYTES = FORMAT == INT8 || FORMAT == Q8_0; // a code has 8 bits, not 4
// Neighbours share a scale up to the next multiple of this, or up to the end of the row.
const UNIT = select(select(64u, 32u, FORMAT == Q4_0 || FORMAT == Q8_0), 0x80000000u, FORMAT == INT8);

fn scale_at(i: u32, total: u32, cols: u32) -> f32 {
    let scales = total / select(8u, 4u, BYTES);
    if (FORMAT == INT8) { return bitcast<f32>(word(scales + i / cols)); }
    if (FORMAT == NF4) { return bitcast<f32>(word(scales + i / 64u)); }
    if (FORMAT == NF4_DOUBLE) {
        let block = i / 64u;
        let seconds = scales + (total / 64u + 3u) / 4u;
        let table = seconds + (total / 64u + 255u) / 256u;
        let code = (word(scales + block / 4u) >> (8u * (block % 4u))) & 255u;
        return bitcast<f32>(word(table + code)) * bitcast<f32>(word(seconds + block / 256u)) + bitcast<f32>(word(table + 256u));
    }
    return f16_of(word(scales + i / 64u), i / 32u);
}

// The levels of four codes of NF4. A tree of choices by the bits is faster than a table that is read at a varying index.
fn nf4_levels(code: vec4<u32>) -> vec4<f32> {
    let a = (code & vec4<u32>(1u)) != vec4<u32>(0u);
    let b = (code & vec4<u32>(2u)) != vec4<u32>(0u);
    let c = (code & vec4<u32>(4u)) != vec4<u32>(0u);
    let d = (code & vec4<u32>(8u)) != vec4<u32>(0u);
    let v0 = select(vec4<f32>(-1.0), vec4<f32>(-0.6961928009986877), a);
    let v1 = select(vec4<f32>(-0.5250730514526367), vec4<f32>(-0.39491748809814453), a);
    let v2 = select(vec4<f32>(-0.28444138169288635), vec4<f32>(-0.18477343022823334), a);
    let v3 = select(vec4<f32>(-0.09105003625154495), vec4<f32>(0.0), a);
    let v4 = select(vec4<f32>(0.07958029955625534), vec4<f32>(0.16093020141124725), a);
    let v5 = select(vec4<f32>(0.24611230194568634), vec4<f32>(0.33791524171829224), a);
    let v6 = select(vec4<f32>(0.44070982933044434), vec4<f32>(0.5626170039176941), a);
    let v7 = select(vec4<f32>(0.7229568362236023), vec4<f32>(1.0), a);
    return select(select(select(v0, v1, b), select(v2, v3, b), c), select(select(v4, v5, b), select(v6, v7, b), c), d);
}

// The values of four codes that share a scale.
fn scaled(code: vec4<u32>, scale: f32) -> vec4<f32> {
    if (BYTES) {
        let q = vec4<f32>(bitcast<vec4<i32>>(code << vec4<u32>(24u)) >> vec4<u32>(24u));
        if (FORMAT == INT8) { return q * scale * 0.007874015718698502; }
        return q * scale;
    }
    if (FORMAT == Q4_0) { return (vec4<f32>(code) - 8.0) * scale; }
    return nf4_levels(code) * scale;
}

// The values from i on, a multiple of 4.
fn four_at(i: u32, scale: f32) -> vec4<f32> {
    if (BYTES) {
        let w = word(i / 4u);
        return scaled(vec4<u32>(w, w >> 8u, w >> 16u, w >> 24u) & vec4<u32>(255u), scale);
    }
    let w = word(i / 8u) >> (4u * (i & 4u));
    return scaled(vec4<u32>(w, w >> 4u, w >> 8u, w >> 12u) & vec4<u32>(15u), scale);
}

// The value i.
fn value_at(i: u32, total: u32, cols: u32) -> f32 {
    var code: u32;
    if (BYTES) {
        code = (word(i / 4u) >> (8u * (i % 4u))) & 255u;
    } else {
        code = (word(i / 8u) >> (4u * (i % 8u))) & 15u;
    }
    return scaled(vec4<u32>(code), scale_at(i, total, cols)).x;
}
