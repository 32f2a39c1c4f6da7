// Each row of a matrix, or each column, by a factor of its own, in place.   w (M,N)  factor (M) or (N)
//@import grid
const WG: u32 = 64u; //@param  threads per workgroup

struct Dims { M: u32, N: u32, rows: u32 }

@group(0) @binding(0) var<storage, read> factor: array<f32>;
@group(0) @binding(1) var<storage, read_write> w: array<f32>;
@group(0) @binding(2) var<uniform> d: Dims;

// One thread per element.
@compute @workgroup_size(WG)
fn scale(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.M * d.N) { return; }
    w[i] *= factor[select(i % d.N, i / d.N, d.rows == 1u)];
}
