// Both sides of a product read one element at a time. Element (m,k) of op(A) lies at a_start(m) + k · a_step(), and
// likewise for B, so that one loop serves all forms. Past the edge the last row or column is read instead.
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<u32>;

fn a_start(m: u32) -> u32 {
    let row = min(m, d.M - 1u);
    return select(row * d.K, row, TRANS_A);
}

fn a_step() -> u32 {
    return select(1u, d.M, TRANS_A);
}

fn b_start(n: u32) -> u32 {
    let column = min(n, d.N - 1u);
    return select(column, column * d.K, TRANS_B);
}

fn b_step() -> u32 {
    return select(d.N, 1u, TRANS_B);
}

fn word(i: u32) -> u32 {
    return b[i];
}

fn b_at(i: u32) -> f32 {
    if (B_QUANTIZED) { return value_at(i, d.N * d.K, select(d.N, d.K, TRANS_B)); }
    if (B_F16) { return f16_of(b[i / 2u], i); }
    if (B_PACKED) { return bf16_of(b[i / 2u], i); }
    return bitcast<f32>(b[i]);
}
