// Sum of all elements.   x (N) → out (1)
const WG: u32 = 64u;            //@param  threads, a power of two
const ACCUMULATE: bool = false; //@param  add to the output instead of replacing it
//@import reduce

struct Dims { N: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> d: Dims;

// One workgroup: a thread sums every WG-th element, then a tree adds the threads.
@compute @workgroup_size(WG)
fn sum(@builtin(local_invocation_index) lane: u32) {
    var part = 0.0;
    for (var i = lane; i < d.N; i += WG) {
        part += x[i];
    }
    let total = workgroup_sum(part, lane);
    if (lane == 0u) {
        if (ACCUMULATE) { out[0] += total; } else { out[0] = total; }
    }
}
