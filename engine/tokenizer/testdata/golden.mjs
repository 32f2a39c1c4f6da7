// Writes golden.json: small tokenizers of every supported pipeline, and what the original library makes of hard texts.
//   npm install --no-save tokenizers@0.23.2 && node golden.mjs [seed] [random texts] [output]
import { readFileSync, writeFileSync } from 'node:fs'
import tokenizers from 'tokenizers'

const gpt2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
const llama3 = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
const qwen2 = llama3.replace('{1,3}', '')

let state = Number(process.argv[2] ?? 7) // a second seed makes another set of texts
const random = (n) => { state = (Math.imul(state, 1103515245) + 12345) >>> 0; return Math.floor(state / 65536) % n }
const pick = (list) => list[random(list.length)]

const corpus = `The tokenizer we'll test isn't large: it's trained on these lines, and they're short. I'd say you've seen it.
  def f(x):\r\n    return  x + 12345 * 678\n\n\n\tif x >= 10: # ten!\n\t\tpass
Wörter über Straßen; l'été à Noël. 你好，世界！今天天气很好。 Привет, мир. こんにちは 🙂🙂 👩‍👩‍👧 ½ ²³ Ⅷ ٣٤
The the they then them. 100 200 300 2024-01-31 3.14159 0xFF ... !!! ??? --- === (a) [b] {c} <d> "e" 'f'`

// train is plain BPE: merge the most frequent pair, again and again.
function train(words, start, rounds) {
  const vocab = new Map(start.map((t, i) => [t, i])), merges = []
  for (let k = 0; k < rounds; k++) {
    const count = new Map()
    for (const w of words) for (let i = 0; i + 1 < w.length; i++) {
      const p = w[i] + ' ' + w[i + 1]
      count.set(p, (count.get(p) ?? 0) + 1)
    }
    const best = [...count].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))[0]
    if (!best || best[1] < 2) break
    const [a, b] = best[0].split(' ')
    merges.push(best[0])
    if (!vocab.has(a + b)) vocab.set(a + b, vocab.size)
    words = words.map((w) => {
      const out = []
      for (let i = 0; i < w.length; i++) w[i] === a && w[i + 1] === b ? (out.push(a + b), i++) : out.push(w[i])
      return out
    })
  }
  return { vocab: Object.fromEntries(vocab), merges }
}

const printable = []
for (let b = 0, next = 256; b < 256; b++) {
  printable[b] = String.fromCharCode(b < 0x21 || (b > 0x7e && b < 0xa1) || b === 0xad ? next++ : b)
}
const spell = (s) => [...Buffer.from(s)].map((b) => printable[b])
const bytesModel = { ...train([...corpus.matchAll(new RegExp(gpt2, 'gu'))].map((m) => spell(m[0])), printable, 160), unk_token: null, byte_fallback: false, fuse_unk: false }
bytesModel.vocab['ĠtheĠthey'] = Object.keys(bytesModel.vocab).length // reached by ignore_merges alone
bytesModel.vocab['123'] = Object.keys(bytesModel.vocab).length
const marked = corpus.replaceAll(' ', '▁')
const letters = [...new Set('▁abcdefghijklmnopqrstuvwxyzTWI.,:!\'"0123ü好é')]
const hex = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`)
const words = marked.split(/(?=▁)|[^▁a-zA-Z.,ü好é]/).filter(Boolean).map((w) => [...w].filter((c) => letters.includes(c)))
const charsModel = { ...train([...words, ['▁', '▁'], ['▁', '▁'], ['▁', '▁', '▁', '▁'], ['▁', '▁', '▁', '▁']], ['<unk>', '<s>', '</s>', ...hex, ...letters], 120), unk_token: '<unk>', byte_fallback: true, fuse_unk: true }
const unkModel = { ...charsModel, byte_fallback: false }
const unkApart = { ...unkModel, fuse_unk: false }
const models = { bytes: bytesModel, chars: charsModel, unk: unkModel, unkApart }
for (const m of Object.values(models)) Object.assign(m, { type: 'BPE', dropout: null, continuing_subword_prefix: null, end_of_word_suffix: null, ignore_merges: false })
models.whole = { ...bytesModel, ignore_merges: true, merges: bytesModel.merges.map((m) => m.split(' ')) }

const added = (id, content, more) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true, ...more })
const extra = (model, list) => list.map(([content, more], i) => added(Object.keys(models[model].vocab).length + i, content, more))
const byteAdded = extra('bytes', [
  ['<|endoftext|>'], ['<|im_start|>'], ['<|im_end|>'], ['<|im_end|>x', { special: false }],
  ['<mask>', { lstrip: true }], ['<gap>', { rstrip: true }], ['whole', { single_word: true, special: false }],
  ['    ', { special: false, normalized: true }], ['Tōte', { special: false, normalized: true }],
])
const charAdded = [added(0, '<unk>'), added(1, '<s>'), added(2, '</s>'),
  ...extra('chars', [['<|user|>', { rstrip: true }], ['zebra', { special: false, normalized: true }], ['[x]', { special: false, single_word: true }]])]
const template = (ids) => ({
  type: 'TemplateProcessing',
  single: [{ SpecialToken: { id: 'B', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }, ...(ids.length > 1 ? [{ SpecialToken: { id: 'E', type_id: 0 } }] : [])],
  pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
  special_tokens: { B: { id: 'B', ids: [ids[0]], tokens: ['B'] }, ...(ids.length > 1 ? { E: { id: 'E', ids: [ids[1]], tokens: ['E'] } } : {}) },
})
const byteLevel = (use_regex, add_prefix_space = false) => ({ type: 'ByteLevel', add_prefix_space, trim_offsets: true, use_regex })
const split = (Regex) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false })
const pre = (...pretokenizers) => ({ type: 'Sequence', pretokenizers })
const replace = (from, to) => ({ type: 'Replace', pattern: { String: from }, content: to })
const spm = { type: 'Sequence', decoders: [replace('▁', ' '), { type: 'ByteFallback' }, { type: 'Fuse' }, { type: 'Strip', content: ' ', start: 1, stop: 0 }] }
const legacy = { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, replace(' ', '▁')] }
const metaspace = (prepend_scheme, s) => ({ type: 'Metaspace', replacement: '▁', prepend_scheme, split: s })
const bytes = (name, model, pre_tokenizer, more) => ({ name, model, added_tokens: byteAdded, normalizer: null, pre_tokenizer, post_processor: byteLevel(true), decoder: byteLevel(true, true), ...more })
const chars = (name, pre_tokenizer, more) => ({ name, model: 'chars', added_tokens: charAdded, normalizer: null, pre_tokenizer, post_processor: template([1]), decoder: spm, ...more })
const end = byteAdded[0].id
const files = [
  bytes('gpt2', 'bytes', byteLevel(true)),
  bytes('gpt2 prefix', 'bytes', byteLevel(true, true)),
  bytes('llama3', 'whole', pre(split(llama3), byteLevel(false)), { post_processor: { type: 'Sequence', processors: [byteLevel(true), template([end])] } }),
  bytes('qwen2', 'bytes', pre(split(qwen2), byteLevel(false)), { normalizer: { type: 'NFC' } }),
  bytes('smollm', 'bytes', pre({ type: 'Digits', individual_digits: true }, byteLevel(true))),
  bytes('digits together', 'bytes', pre({ type: 'Digits', individual_digits: false }, byteLevel(true)), { post_processor: template([end, end + 1]) }),
  bytes('no regex', 'bytes', byteLevel(false), { post_processor: null, decoder: null }),
  chars('llama2 legacy', null, { normalizer: legacy }),
  chars('first', metaspace('first', false)),
  chars('always split', metaspace('always', true), { decoder: metaspace('always', true) }),
  chars('never', metaspace('never', false), { decoder: metaspace('never', false) }),
  chars('unknown', metaspace('first', true), { model: 'unk', decoder: { type: 'Sequence', decoders: [replace('▁', ' '), { type: 'Fuse' }] } }),
  chars('unknown apart', null, { model: 'unkApart', normalizer: legacy }),
]
// Unusual stages come last, so that they leave the random texts and ids of those before them as they were.
const at = (String, behavior) => ({ type: 'Split', pattern: { String }, behavior, invert: false })
const unusual = [
  chars('gemma', at(' ', 'MergedWithPrevious'), { normalizer: replace(' ', '▁') }),
  ...['Isolated', 'Removed', 'Contiguous', 'MergedWithPrevious', 'MergedWithNext'].map((b) => bytes('split ' + b, 'bytes', pre(at('a', b), byteLevel(false)), { removes: b === 'Removed' || undefined })),
  bytes('punctuation', 'bytes', pre({ type: 'Punctuation', behavior: 'Isolated' }, byteLevel(false))),
  bytes('punctuation together', 'bytes', pre({ type: 'Punctuation', behavior: 'Contiguous' }, byteLevel(false))),
  bytes('white space removed', 'bytes', pre({ type: 'WhitespaceSplit' }, byteLevel(false)), { removes: true }),
  bytes('removed inverted', 'bytes', pre({ ...split(llama3), behavior: 'Removed', invert: true }, byteLevel(false))),
  bytes('lowercase', 'bytes', byteLevel(true), { normalizer: { type: 'Lowercase' }, added_tokens: byteAdded.filter((a) => !a.normalized) }),
  bytes('strip', 'bytes', byteLevel(true), { removes: true, normalizer: { type: 'Strip', strip_left: true, strip_right: true }, added_tokens: byteAdded.filter((a) => !a.normalized) }),
]
files.push(...unusual)

const atoms = ['a', 'the', 'They', ' ', ' ', '  ', '    ', '\t', '\n', '\r\n', '\n\n', '\u00a0', '\u2003', '\u0085', "'s", "'S", "'ſ", "'LL", "'ve", "'", '1', '12345', '123', '½', '٣', 'Ⅷ',
  '!', '...', '?\n', 'é', 'e\u0301', '好', '你', '🙂', '👩‍👩‍👧', '한', '\u1112\u1161\u11ab', 'Å', '\u212b', 'q\u0323\u0307', 'q\u0307\u0323', '\u0301', 'का', 'ß', '▁', '▁▁', '<0x0A>', 'Ġ', '<s>', '</s>', '<unk>', '<|user|>',
  '<|im_end|>', '<|im_end|>x', '<|im_start|>', '<|endoftext|>', '<mask>', '<gap>', 'whole', 'zebra', '[x]', 'Tōte', 'To\u0304te', 'ü', 'test', 'isn', 'tokenizer', 'x', '-', '_', '\u200d', '\ufe0f', '\u0000', '\ufffd']
const texts = ['', ' ', '  ', 'a', ' a', 'a ', 'Hello, world!', ' the they', "I'll say it'S they'RE", 'x = 12345\r\n\r\n  y', 'a  b   c    d     e', 'a <mask> b <gap>  c', 'wholes whole a_whole', corpus.slice(0, 200)]
for (let i = 0; i < Number(process.argv[3] ?? 24); i++) texts.push(Array.from({ length: 1 + random(14) }, () => pick(atoms)).join(''))

for (const f of files) {
  const { name, model, removes, ...file } = f // removes: the file leaves parts of a text out
  const t = tokenizers.Tokenizer.fromString(JSON.stringify({ version: '1.0', truncation: null, padding: null, ...file, model: models[model] }))
  f.cases = []
  for (const text of texts) {
    const ids = (await t.encode(text, null, { addSpecialTokens: false })).getIds()
    const special = (await t.encode(text, null, { addSpecialTokens: true })).getIds()
    f.cases.push({ text, ids, special, decoded: await t.decode(special, false), skipped: await t.decode(special, true) })
  }
  // Ids that no text encodes to: broken characters, tokens out of place.
  f.decodes = []
  const size = t.getVocabSize(true)
  for (let i = 0; i < 20; i++) {
    const ids = Array.from({ length: 1 + random(12) }, () => random(random(2) ? size : Math.min(size, 300)))
    f.decodes.push({ ids, decoded: await t.decode(ids, false), skipped: await t.decode(ids, true) })
  }
}
writeFileSync(process.argv[4] ?? new URL('golden.json', import.meta.url), JSON.stringify({ library: 'tokenizers ' + JSON.parse(readFileSync(new URL('package.json', import.meta.resolve('tokenizers')))).version, models, files }))
