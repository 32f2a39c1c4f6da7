// Gradients of slot attention with respect to the queries and the gate.
//   k, v (K, Hkv·D)   gate (1)   p, ds (N, H, K)   dout, dq (N, H·D)   dgate (N, H): what each row adds
//   ds_j = scale · gate · p_j (dout·v_j − dgate),   dgate = Σ_j p_j dout·v_j,   dq = Σ_j ds_j k_j
//@import grid
const WG: u32 = 64u;            //@param  threads per workgroup
const ACCUMULATE: bool = false; //@param  add to dq instead of replacing it

struct Dims { N: u32, K: u32, H: u32, Hkv: u32, D: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> k: array<f32>;
@group(0) @binding(1) var<storage, read> v: array<f32>;
@group(0) @binding(2) var<storage, read> gate: array<f32>;
@group(0) @binding(3) var<storage, read> p: array<f32>;
@group(0) @binding(4) var<storage, read> dout: array<f32>;
@group(0) @binding(5) var<storage, read_write> ds: array<f32>;
@group(0) @binding(6) var<storage, read_write> dgate: array<f32>;
@group(0) @binding(7) var<storage, read_write> dq: array<f32>;
@group(0) @binding(8) var<uniform> d: Dims;

// One thread per query row.
@compute @workgroup_size(WG)
fn backward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let row = flat_group(wid, groups) * WG + lane;
    if (row >= d.N * d.H) { return; }
    let head = row % d.H / (d.H / d.Hkv) * d.D;
    let width = d.Hkv * d.D;
    var mean = 0.0;
    for (var j = 0u; j < d.K; j++) {
        var s = 0.0;
        for (var c = 0u; c < d.D; c++) {
            s += dout[row * d.D + c] * v[j * width + head + c];
        }
        ds[row * d.K + j] = s;
        mean += p[row * d.K + j] * s;
    }
    dgate[row] = mean;
    for (var j = 0u; j < d.K; j++) {
        ds[row * d.K + j] = d.scale * gate[0] * p[row * d.K + j] * (ds[row * d.K + j] - mean);
    }
    for (var c = 0u; c < d.D; c++) {
        var dx = 0.0;
        for (var j = 0u; j < d.K; j++) {
            dx += ds[row * d.K + j] * k[j * width + head + c];
        }
        if (ACCUMULATE) { dq[row * d.D + c] += dx; } else { dq[row * d.D + c] = dx; }
    }
}
