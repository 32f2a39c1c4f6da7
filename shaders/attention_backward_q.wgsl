// Gradient of causal attention with respect to the queries.
//   q, dout, dq (B·T, H·D)   k, v (B·(P+T), Hkv·D)   positions (B·T)   stats (B·T·H): (lse, delta = o·dout)
//   dq = scale · Σ_j ds_j k_j,   ds_j = p_j (dout·v_j − delta),   p_j = exp(scale · q·k_j − lse)
//@import grid
//@import attention
//@import attention_keys
const ACCUMULATE: bool = false; //@param  add to the output instead of replacing it

@group(0) @binding(0) var<storage, read> q: array<V>;
@group(0) @binding(1) var<storage, read> k: array<V>;
@group(0) @binding(2) var<storage, read> v: array<V>;
@group(0) @binding(3) var<storage, read> positions: array<i32>;
@group(0) @binding(4) var<storage, read> dout: array<V>;
@group(0) @binding(5) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> dq: array<V>;
@group(0) @binding(7) var<uniform> d: Dims;

var<workgroup> partial: array<vec2<f32>, TILE * ROWS * WG>;

// The sums of what the threads of a row left in slot e.
fn gather(e: u32, lane: u32) -> vec2<f32> {
    let at = e * WG + lane / SPLIT * SPLIT;
    var sum = partial[at];
    for (var i = 1u; i < SPLIT; i++) {
        sum += partial[at + i];
    }
    return sum;
}

@compute @workgroup_size(WG)
fn backward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
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
    var dy: array<array<V, OWN>, ROWS>;
    var acc: array<array<V, OWN>, ROWS>;
    var stat: array<vec2<f32>, ROWS>;
    var i: array<u32, ROWS>;
    var start: array<u32, ROWS>;
    var lo = d.T;
    for (var r = 0u; r < ROWS; r++) { //@unroll
        let row = min(first_row + r, rows - 1u); // past the end: the last row again, which is not stored
        i[r] = row / G;
        start[r] = start_of(b * d.T + i[r], i[r]);
        lo = min(lo, start[r]);
        let at = query_at(b, i[r], head * G + row % G);
        stat[r] = stats[at / VECS];
        for (var c = 0u; c < VECS / SPLIT; c++) { //@unroll
            x[r][c] = q[at + slice + c * SPLIT] * d.scale;
            dy[r][c] = dout[at + slice + c * SPLIT];
        } //@end
    } //@end
    lo = ~workgroup_largest(~lo, lane); //@if TILED
    let count = d.P + (min(block_row + BLOCK, rows) - 1u) / G + 1u - lo;

    for (var n0 = 0u; n0 < count; n0 += TILE) {
        stage(b, head, n0, count, lo, lane); //@if TILED
        const jj = 0u; //@if !TILED
        var s: array<vec2<f32>, ROWS>; // (scale · q·k, dout·v)
        var key: array<V, OWN>;
        for (var jj = 0u; jj < TILE; jj++) { //@if TILED
            let at = select(key_at(b, visited(n0, lo), head), jj * VECS + slice, TILED);
            for (var r = 0u; r < ROWS; r++) { //@unroll
                s[r] = vec2<f32>();
            } //@end
            for (var c = 0u; c < VECS / SPLIT; c++) { //@unroll
                let kc = load_k(at + c * SPLIT);
                let vc = load_v(at + c * SPLIT);
                key[c] = kc; //@if !TILED
                for (var r = 0u; r < ROWS; r++) { //@unroll
                    s[r] += vec2<f32>(dot(x[r][c], kc), dot(dy[r][c], vc));
                } //@end
            } //@end
            for (var r = 0u; r < ROWS; r++) { //@unroll
                partial[(jj * ROWS + r) * WG + lane] = s[r]; //@if TILED
            } //@end
        } //@if TILED
        workgroupBarrier(); //@if TILED
        for (var jj = 0u; jj < TILE; jj++) { //@if TILED
            let n = n0 + jj;
            var ds: array<f32, ROWS>;
            for (var r = 0u; r < ROWS; r++) { //@unroll
                s[r] = gather(jj * ROWS + r, lane); //@if TILED
                ds[r] = 0.0;
                if (n < count && seen(visited(n, lo), start[r], i[r])) {
                    ds[r] = exp(s[r].x - stat[r].x) * (s[r].y - stat[r].y);
                }
            } //@end
            for (var c = 0u; c < VECS / SPLIT; c++) { //@unroll
                key[c] = tile_k[jj * VECS + slice + c * SPLIT]; //@if TILED
                for (var r = 0u; r < ROWS; r++) { //@unroll
                    acc[r][c] += ds[r] * key[c];
                } //@end
            } //@end
        } //@if TILED
    }

    for (var r = 0u; r < ROWS; r++) { //@unroll
        let row = first_row + r;
        if (row < rows) {
            let at = query_at(b, i[r], head * G + row % G) + slice;
            for (var c = 0u; c < VECS / SPLIT; c++) { //@unroll
                let dx = acc[r][c] * d.scale;
                if (ACCUMULATE) { dq[at + c * SPLIT] += dx; } else { dq[at + c * SPLIT] = dx; }
            } //@end
        }
    } //@end
}
