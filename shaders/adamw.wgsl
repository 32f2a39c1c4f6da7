// AdamW in one pass.   p, g, m, v (N)  scalars, state (8)
//@import adamw
const WG: u32 = 64u; //@param  threads per workgroup

@group(0) @binding(3) var<storage, read_write> p: array<f32>;

// One thread per element.
@compute @workgroup_size(WG)
fn adamw(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.N || state[APPLIED] == 0.0) { return; }
    let by = change(i, p[i]);
    p[i] -= by;
    g[i] = -by;
}
