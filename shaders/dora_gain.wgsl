// What DoRA scales the rows of an adapted weight by.
//   w (O,I)  b (O,R)  aw (R,O) = A·Wᵀ  aa (R,R) = A·Aᵀ  m (O)   inv, gain (O)
//   inv = 1 / ‖w + s·b·A‖,   ‖w + s·b·A‖² = ‖w‖² + Σ_j b_j (2s·aw_j + s² Σ_k aa_jk b_k),   gain = m · inv
//@import grid
//@import narrow
//@import quantized
const WG: u32 = 64u;          //@param  threads per row, a power of two
const W_PACKED: bool = false; //@param  w holds bfloat16, two in a word
const W_F16: bool = false;    //@param  or binary16
const W_QUANTIZED: bool = false; //@param  or it is quantised, in the
const W_FORMAT: u32 = 1u; //@param  format of this number
const FORMAT = W_FORMAT;
//@import reduce

struct Dims { O: u32, I: u32, R: u32, s: f32 }

@group(0) @binding(0) var<storage, read> w: array<u32>; // f32 bits, or pairs
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> aw: array<f32>;
@group(0) @binding(3) var<storage, read> aa: array<f32>;
@group(0) @binding(4) var<storage, read> m: array<f32>;
@group(0) @binding(5) var<storage, read_write> inv: array<f32>;
@group(0) @binding(6) var<storage, read_write> gain: array<f32>;
@group(0) @binding(7) var<uniform> d: Dims;

fn word(i: u32) -> u32 {
    return w[i];
}

// One workgroup per row.
@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let row = flat_group(wid, groups);
    if (row >= d.O) { return; }
    var sum = 0.0;
    for (var i = lane; i < d.I; i += WG) {
        let at = row * d.I + i;
        var x: f32;
        if (W_QUANTIZED) {
            x = value_at(at, d.O * d.I, d.I);
        } else if (W_F16) {
            x = f16_of(w[at / 2u], at);
        } else if (W_PACKED) {
            x = bf16_of(w[at / 2u], at);
        } else {
            x = bitcast<f32>(w[at]);
        }
        sum += x * x;
    }
    for (var j = lane; j < d.R; j += WG) {
        var ab = 0.0;
        for (var k = 0u; k < d.R; k++) {
            ab += aa[j * d.R + k] * b[row * d.R + k];
        }
        sum += b[row * d.R + j] * d.s * (2.0 * aw[j * d.O + row] + d.s * ab);
    }
    let norm = inverseSqrt(workgroup_sum(sum, lane));
    if (lane == 0u) {
        inv[row] = norm;
        gain[row] = m[row] * norm;
    }
}
