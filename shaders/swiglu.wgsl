// SwiGLU.   gate, up, y (N):   y = silu(gate) · up
//@import grid
//@import sigmoid
const WG: u32 = 64u; //@param  threads per workgroup

struct Dims { N: u32 }

@group(0) @binding(0) var<storage, read> gate: array<f32>;
@group(0) @binding(1) var<storage, read> up: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> d: Dims;

// One thread per element.
@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.N) { return; }
    y[i] = gate[i] * sigmoid(gate[i]) * up[i];
}
