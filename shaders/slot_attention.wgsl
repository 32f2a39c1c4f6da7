// Attention to a few slots that all queries share, with a gate.
//   q, o (N, H·D)   k, v (K, Hkv·D)   gate (1)   p (N, H, K)
//   p = softmax_j(scale · q·k_j),   o = gate · Σ_j p_j v_j
//@import grid
const WG: u32 = 64u; //@param  threads per workgroup

struct Dims { N: u32, K: u32, H: u32, Hkv: u32, D: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> gate: array<f32>;
@group(0) @binding(4) var<storage, read_write> o: array<f32>;
@group(0) @binding(5) var<storage, read_write> p: array<f32>;
@group(0) @binding(6) var<uniform> d: Dims;

// One thread per query row.
@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let row = flat_group(wid, groups) * WG + lane;
    if (row >= d.N * d.H) { return; }
    let head = row % d.H / (d.H / d.Hkv) * d.D;
    let width = d.Hkv * d.D;
    var peak = -3.4e38;
    for (var j = 0u; j < d.K; j++) {
        var s = 0.0;
        for (var c = 0u; c < d.D; c++) {
            s += q[row * d.D + c] * k[j * width + head + c];
        }
        p[row * d.K + j] = s * d.scale;
        peak = max(peak, s * d.scale);
    }
    var sum = 0.0;
    for (var j = 0u; j < d.K; j++) {
        let e = exp(p[row * d.K + j] - peak);
        p[row * d.K + j] = e;
        sum += e;
    }
    for (var j = 0u; j < d.K; j++) {
        p[row * d.K + j] /= sum;
    }
    for (var c = 0u; c < d.D; c++) {
        var y = 0.0;
        for (var j = 0u; j < d.K; j++) {
            y += p[row * d.K + j] * v[j * width + head + c];
        }
        o[row * d.D + c] = gate[0] * y;
    }
}
