// Gradients of slot attention with respect to the slots.
//   q, dout (N, H·D)   gate (1)   p, ds (N, H, K)   dk, dv (K, Hkv·D)
//   dk_j = Σ ds_j q,   dv_j = gate · Σ p_j dout,   over all rows and the heads that share a slot
//@import grid
const WG: u32 = 64u;            //@param  threads per workgroup
const ACCUMULATE: bool = false; //@param  add to the outputs instead of replacing them

struct Dims { N: u32, K: u32, H: u32, Hkv: u32, D: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> gate: array<f32>;
@group(0) @binding(2) var<storage, read> p: array<f32>;
@group(0) @binding(3) var<storage, read> ds: array<f32>;
@group(0) @binding(4) var<storage, read> dout: array<f32>;
@group(0) @binding(5) var<storage, read_write> dk: array<f32>;
@group(0) @binding(6) var<storage, read_write> dv: array<f32>;
@group(0) @binding(7) var<uniform> d: Dims;

// One thread per element of a slot.
@compute @workgroup_size(WG)
fn backward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    let width = d.Hkv * d.D;
    if (i >= d.K * width) { return; }
    let j = i / width;
    let G = d.H / d.Hkv;
    let head = i % width / d.D * G;
    let c = i % d.D;
    var to_k = 0.0;
    var to_v = 0.0;
    for (var n = 0u; n < d.N; n++) {
        for (var h = head; h < head + G; h++) {
            let row = n * d.H + h;
            to_k += ds[row * d.K + j] * q[row * d.D + c];
            to_v += p[row * d.K + j] * dout[row * d.D + c];
        }
    }
    to_v *= gate[0];
    if (ACCUMULATE) { dk[i] += to_k; } else { dk[i] = to_k; }
    if (ACCUMULATE) { dv[i] += to_v; } else { dv[i] = to_v; }
}
