// Causal attention with grouped queries, forward; softmax with a running maximum, so no score is ever stored.
//   q, o (B·T, H·D)   k, v (B·(P+T), Hkv·D)   positions (B·T)   lse (B·T, H)
//   o = Σ_j p_j v_j,   p_j = exp(s_j − lse),   s_j = scale · q·k_j,   lse = log Σ_j exp s_j,   over the keys seen
//@import grid
//@import attention
//@import attention_keys

@group(0) @binding(0) var<storage, read> q: array<V>;
@group(0) @binding(1) var<storage, read> k: array<V>;
@group(0) @binding(2) var<storage, read> v: array<V>;
@group(0) @binding(3) var<storage, read> positions: array<i32>;
@group(0) @binding(4) var<storage, read_write> o: array<V>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;
@group(0) @binding(6) var<uniform> d: Dims;

var<workgroup> partial: array<f32, TILE * ROWS * WG>;

// The sum of what the threads of a row left in slot e.
fn gather(e: u32, lane: u32) -> f32 {
    let at = e * WG + lane / SPLIT * SPLIT;
    var sum = partial[at];
    for (var i = 1u; i < SPLIT; i++) {
        sum += partial[at + i];
    }
    return sum;
}

@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    var block = flat_group(wid, groups);
    block = block * WG + lane; //@if !TILED
    let G = d.H / d.Hkv;
    let rows = d.T * G;
    let blocks = (rows + BLOCK - 1u) / BLOCK;
    let b = block / blocks / d.Hkv;
    let head = block / blocks % d.Hkv;
    if (b >= d.B) { return; }
    let block_row = (blocks - 1u - block % blocks) * BLOCK; // the longest rows first
    let first_row = block_row + select(0u, lane / SPLIT * ROWS, TILED);
    let slice = lane % SPLIT;

    var x: array<array<V, OWN>, ROWS>; // scale · q
    var acc: array<array<V, OWN>, ROWS>;
    var i: array<u32, ROWS>;
    var start: array<u32, ROWS>;
    var peak: array<f32, ROWS>;
    var sum: array<f32, ROWS>;
    var lo = d.T;
    for (var r = 0u; r < ROWS; r++) { //@unroll
        let row = min(first_row + r, rows - 1u); // past the end: the last row again, which is not stored
        i[r] = row / G;
        start[r] = start_of(b * d.T + i[r], i[r]);
        lo = min(lo, start[r]);
        peak[r] = -3.4e38;
        let at = query_at(b, i[r], head * G + row % G) + slice;
        for (var c = 0u; c < VECS / SPLIT; c++) { //@unroll
            x[r][c] = q[at + c * SPLIT] * d.scale;
        } //@end
    } //@end
    lo = ~workgroup_largest(~lo, lane); //@if TILED
    let count = d.P + (min(block_row + BLOCK, rows) - 1u) / G + 1u - lo;

    for (var n0 = 0u; n0 < count; n0 += TILE) {
        stage(b, head, n0, count, lo, lane); //@if TILED
        const jj = 0u; //@if !TILED
        var s: array<f32, ROWS>;
        for (var jj = 0u; jj < TILE; jj++) { //@if TILED
            let key_vec = select(key_at(b, visited(n0, lo), head), jj * VECS + slice, TILED);
            for (var r = 0u; r < ROWS; r++) { //@unroll
                s[r] = 0.0;
            } //@end
            for (var c = 0u; c < VECS / SPLIT; c++) { //@unroll
                let y = load_k(key_vec + c * SPLIT);
                for (var r = 0u; r < ROWS; r++) { //@unroll
                    s[r] += dot(x[r][c], y);
                } //@end
            } //@end
            for (var r = 0u; r < ROWS; r++) { //@unroll
                partial[(jj * ROWS + r) * WG + lane] = s[r]; //@if TILED
            } //@end
        } //@if TILED
        workgroupBarrier(); //@if TILED
        for (var jj = 0u; jj < TILE; jj++) { //@if TILED
            let n = n0 + jj;
            let key = visited(n, lo);
            var visible: array<bool, ROWS>;
            var raised = false;
            for (var r = 0u; r < ROWS; r++) { //@unroll
                s[r] = gather(jj * ROWS + r, lane); //@if TILED
                visible[r] = (n < count) & seen(key, start[r], i[r]);
                raised = raised | (visible[r] & (s[r] > peak[r]));
            } //@end
            if (raised) { // rare after the first keys
                for (var r = 0u; r < ROWS; r++) { //@unroll
                    let higher = select(peak[r], max(peak[r], s[r]), visible[r]);
                    let shrink = exp(peak[r] - higher);
                    peak[r] = higher;
                    sum[r] *= shrink;
                    for (var c = 0u; c < VECS / SPLIT; c++) { //@unroll
                        acc[r][c] *= shrink;
                    } //@end
                } //@end
            }
            var p: array<f32, ROWS>;
            for (var r = 0u; r < ROWS; r++) { //@unroll
                p[r] = select(0.0, exp(s[r] - peak[r]), visible[r]);
                sum[r] += p[r];
            } //@end
            let value_vec = select(key_at(b, key, head), jj * VECS + slice, TILED);
            for (var c = 0u; c < VECS / SPLIT; c++) { //@unroll
                let y = load_v(value_vec + c * SPLIT);
                for (var r = 0u; r < ROWS; r++) { //@unroll
                    acc[r][c] += p[r] * y;
                } //@end
            } //@end
        } //@if TILED
    }

    for (var r = 0u; r < ROWS; r++) { //@unroll
        let row = first_row + r;
        if (row < rows) {
            let at = query_at(b, i[r], head * G + row % G);
            for (var c = 0u; c < VECS / SPLIT; c++) { //@unroll
                o[at + slice + c * SPLIT] = acc[r][c] / sum[r];
            } //@end
            if (slice == 0u) { lse[at / VECS] = peak[r] + log(sum[r]); }
        }
    } //@end
}
