// Gradients of SwiGLU.   dy, gate, up, dgate, dup (N)
//   dgate = dy · up · σ(gate) · (1 + gate · (1 − σ(gate))),   dup = dy · gate · σ(gate)
//@import grid
//@import sigmoid
const WG: u32 = 64u;            //@param  threads per workgroup
const ACCUMULATE: bool = false; //@param  add to the outputs instead of replacing them

struct Dims { N: u32 }

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> gate: array<f32>;
@group(0) @binding(2) var<storage, read> up: array<f32>;
@group(0) @binding(3) var<storage, read_write> dgate: array<f32>;
@group(0) @binding(4) var<storage, read_write> dup: array<f32>;
@group(0) @binding(5) var<uniform> d: Dims;

// One thread per element.
@compute @workgroup_size(WG)
fn backward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.N) { return; }
    let g = gate[i];
    let s = sigmoid(g);
    let to_gate = dy[i] * up[i] * s * (1.0 + g * (1.0 - s));
    let to_up = dy[i] * g * s;
    if (ACCUMULATE) {
        dgate[i] += to_gate;
        dup[i] += to_up;
    } else {
        dgate[i] = to_gate;
        dup[i] = to_up;
    }
}
