// The first element that is infinite or NaN.   x (N) → report[slot], 2³²−1 when there is none
const WG: u32 = 256u; //@param  threads
//@import finite

struct Dims { N: u32, slot: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> report: array<u32>;
@group(0) @binding(2) var<uniform> d: Dims;

var<workgroup> lowest: atomic<u32>;

// One workgroup.
@compute @workgroup_size(WG)
fn nonfinite(@builtin(local_invocation_index) lane: u32) {
    if (lane == 0u) { atomicStore(&lowest, 0xffffffffu); }
    workgroupBarrier();
    for (var i = lane; i < d.N; i += WG) {
        if (!finite(x[i])) {
            atomicMin(&lowest, i);
            break;
        }
    }
    workgroupBarrier();
    if (lane == 0u) { report[d.slot] = atomicLoad(&lowest); }
}
