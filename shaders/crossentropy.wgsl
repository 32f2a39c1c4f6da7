// Cross-entropy of rows of logits.   logits (N,V)  targets, losses (from row `first` on)
//   losses[n] = lse − logits[n,target],   lse = log Σ_v exp(logits[n,v]);   with GRADIENT: logits ← softmax − onehot
//   SMOOTHED with ε = smoothing: losses[n] = lse − (1−ε)·logits[n,target] − ε·mean_v logits[n,v];
//   logits ← softmax − (1−ε)·onehot − ε/V
// A row whose target is negative is not counted: its loss and its gradient are 0.
//@import grid
const WG: u32 = 64u;          //@param  threads per row, a power of two
const GRADIENT: bool = false; //@param  replace the logits by their gradient
const SCALED: bool = false;   //@param  times loss_scale
const SMOOTHED: bool = false; //@param  label smoothing

struct Dims { N: u32, V: u32, first: u32, smoothing: f32 }

@group(0) @binding(0) var<storage, read> targets: array<i32>;
@group(0) @binding(1) var<storage, read_write> losses: array<f32>;
@group(0) @binding(2) var<storage, read_write> logits: array<f32>;
@group(0) @binding(3) var<uniform> d: Dims; //@if !SCALED
@group(0) @binding(3) var<storage, read> loss_scale: array<f32>; //@if SCALED
@group(0) @binding(4) var<uniform> d: Dims; //@if SCALED

// A sum of exponentials as its largest exponent and the sum relative to it. One exponent at least always counts as
// e⁰, so nothing overflows; an infinity or NaN among the logits ends up in the sum, never in a comparison alone.
struct Exponentials { peak: f32, sum: f32 }

fn join(a: Exponentials, b: Exponentials) -> Exponentials {
    let peak = max(a.peak, b.peak);
    return Exponentials(peak, a.sum * exp(a.peak - peak) + b.sum * exp(b.peak - peak));
}

var<workgroup> scratch: array<Exponentials, WG>;
var<workgroup> sums: array<f32, WG>; //@if SMOOTHED

// One workgroup per row.
@compute @workgroup_size(WG)
fn crossentropy(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                @builtin(local_invocation_index) lane: u32) {
    let n = flat_group(wid, groups);
    if (n >= d.N) { return; }
    let row = n * d.V;
    let target_id = targets[d.first + n];
    if (target_id < 0) { // the same for the whole workgroup
        if (lane == 0u) { losses[d.first + n] = 0.0; }
        if (GRADIENT) {
            for (var v = lane; v < d.V; v += WG) {
                logits[row + v] = 0.0;
            }
        }
        return;
    }
    var own = Exponentials(-3.4e38, 0.0);
    var sum = 0.0; //@if SMOOTHED
    for (var v = lane; v < d.V; v += WG) {
        let l = logits[row + v];
        sum += l; //@if SMOOTHED
        let smaller = exp(-abs(l - own.peak)); // e to the smaller of the two, seen from the larger
        let rises = l > own.peak;
        own = Exponentials(select(own.peak, l, rises), select(own.sum + smaller, own.sum * smaller + 1.0, rises));
    }
    scratch[lane] = own;
    sums[lane] = sum; //@if SMOOTHED
    let correct = row + min(u32(target_id), d.V - 1u);
    let score = logits[correct]; // read before the barrier, replaced after it
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half = half / 2u) {
        if (lane < half) {
            scratch[lane] = join(scratch[lane], scratch[lane + half]);
            sums[lane] += sums[lane + half]; //@if SMOOTHED
        }
        workgroupBarrier();
    }
    let all = scratch[0];
    let target_loss = log(all.sum) + all.peak - score;
    if (lane == 0u) { losses[d.first + n] = target_loss; } //@if !SMOOTHED
    if (lane == 0u) { losses[d.first + n] = target_loss + d.smoothing * (score - sums[0] / f32(d.V)); } //@if SMOOTHED
    if (GRADIENT) {
        let scale = 1.0 / all.sum;
        for (var v = lane; v < d.V; v += WG) {
            let p = exp(logits[row + v] - all.peak) * scale;
            logits[row + v] = select(p, p - 1.0, row + v == correct); //@if !SMOOTHED
            logits[row + v] = p - d.smoothing / f32(d.V) - select(0.0, 1.0 - d.smoothing, row + v == correct); //@if SMOOTHED
            logits[row + v] *= loss_scale[0]; //@if SCALED
        }
    }
}
