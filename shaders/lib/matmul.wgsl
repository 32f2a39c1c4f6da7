// What all matrix products share.   C = alpha · op(A) · op(B) + bias,   C (M,N)  bias (N)
//   op(A) (M,K) is A (M,K), or Aᵀ of A (K,M) with TRANS_A;   op(B) (K,N) is B (K,N), or Bᵀ of B (N,K) with TRANS_B.
// Element (m,k) of op(A) lies at a_start(m) + k · a_step(), and likewise for B, so that one loop serves all forms.
//@import grid
//@import bf16
const TRANS_A: bool = false;    //@param
const TRANS_B: bool = true;     //@param
const B_BF16: bool = false;     //@param  B holds bfloat16, two in a word
const B_PAIRS: bool = false;    //@param  and its rows have an even length, so that no word holds two rows
const BIAS: bool = false;       //@param  bias is added to each row; without it the binding is not looked at
const ACCUMULATE: bool = false; //@param  add to the output instead of replacing it

struct Dims { M: u32, N: u32, K: u32, alpha: f32 }

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<u32>; // f32 bits or pairs of bfloat16
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;
@group(0) @binding(4) var<uniform> d: Dims;

// Rows and columns past the edge read the last one instead; put drops what comes of them.
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

fn b_at(i: u32) -> f32 {
    if (B_BF16) { return bf16_of(b[i / 2u], i); }
    return bitcast<f32>(b[i]);
}

fn put(m: u32, n: u32, sum: f32) {
    if (m >= d.M || n >= d.N) { return; }
    var value = d.alpha * sum;
    if (BIAS) { value += bias[n]; }
    let i = m * d.N + n;
    if (ACCUMULATE) { c[i] += value; } else { c[i] = value; }
}
