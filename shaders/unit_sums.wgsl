// Sums of the partial sums of units.   grads, updates, weights (P)  starts (U+1) → sums (U,3)
//   sums[u,k] = Σ x_k[p] for starts[u] ≤ p < starts[u+1]
//@import grid
const WG: u32 = 64u; //@param  threads per unit, a power of two
//@import reduce

struct Dims { U: u32 }

@group(0) @binding(0) var<storage, read> grads: array<f32>;
@group(0) @binding(1) var<storage, read> updates: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read> starts: array<u32>;
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;
@group(0) @binding(5) var<uniform> d: Dims;

// One workgroup per unit.
@compute @workgroup_size(WG)
fn unit_sums(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
    let u = flat_group(wid, groups);
    if (u >= d.U) { return; }
    var g = 0.0;
    var s = 0.0;
    var w = 0.0;
    for (var p = starts[u] + lane; p < starts[u + 1u]; p += WG) {
        g += grads[p];
        s += updates[p];
        w += weights[p];
    }
    g = workgroup_sum(g, lane);
    s = workgroup_sum(s, lane);
    w = workgroup_sum(w, lane);
    if (lane == 0u) {
        sums[3u * u] = g;
        sums[3u * u + 1u] = s;
        sums[3u * u + 2u] = w;
    }
}
