// What all matrix products share.   C = alpha · op(A) · op(B) + bias,   C (M,N)  bias (N)
//   op(A) (M,K) is A (M,K), or Aᵀ of A (K,M) with TRANS_A;   op(B) (K,N) is B (K,N), or Bᵀ of B (N,K) with TRANS_B.
// The file that imports this declares a at binding 0 and b at binding 1, as wide as it likes to read them.
//@import grid
//@import narrow
//@import quantized
const TRANS_A: bool = false;    //@param
const TRANS_B: bool = true;     //@param
const B_PACKED: bool = false;   //@param  b holds bfloat16, two in a word, and not f32 bits
const B_F16: bool = false;      //@param  or binary16
const B_QUANTIZED: bool = false; //@param  or it is quantised, in the
const B_FORMAT: u32 = 1u;       //@param  format of this number
const BIAS: bool = false;       //@param  bias is added to each row; without it the binding is not looked at
const ACCUMULATE: bool = false; //@param  add to the output instead of replacing it

const FORMAT = B_FORMAT;

struct Dims { M: u32, N: u32, K: u32, alpha: f32 }

@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;
@group(0) @binding(4) var<uniform> d: Dims;

// Tiles reach past the edge of C; what lies there is dropped.
fn put(m: u32, n: u32, sum: f32) {
    if (m >= d.M || n >= d.N) { return; }
    var value = d.alpha * sum;
    if (BIAS) { value += bias[n]; }
    let i = m * d.N + n;
    if (ACCUMULATE) { c[i] += value; } else { c[i] = value; }
}
