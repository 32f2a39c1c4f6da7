// What both gradients of attention need of a query row.   o, dout (B·T, H·D)   lse (B·T·H)   stats (B·T·H): (lse, Σ o·dout)
//@import grid
alias V = vec4<f32>;   //@param  the unit of loads: vec2<f32> where 4 does not divide the head dimension
const VECS: u32 = 16u; //@param  units in a head
const WG: u32 = 64u;   //@param  threads per workgroup

struct Dims { B: u32, T: u32, P: u32, W: u32, H: u32, Hkv: u32, D: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> o: array<V>;
@group(0) @binding(1) var<storage, read> dout: array<V>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(4) var<uniform> d: Dims;

// One thread per query row.
@compute @workgroup_size(WG)
fn delta(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
    let row = flat_group(wid, groups) * WG + lane;
    if (row >= d.B * d.T * d.H) { return; }
    var sum = 0.0;
    for (var c = 0u; c < VECS; c++) {
        sum += dot(o[row * VECS + c], dout[row * VECS + c]);
    }
    stats[row] = vec2<f32>(lse[row], sum);
}
