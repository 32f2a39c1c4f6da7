// Encodes texts and decodes token ids with another implementation. Reads from standard input
//   {"library", "file", "texts": [text, …], "ids": [[id, …], …]}
// and writes {"version", "encoded": [[id, …], …], "decoded": [text, …]}. file is a tokenizer.json, or the name of an
// encoding for gpt-tokenizer. No template is applied, and decoding keeps special tokens.
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const { library, file, texts, ids } = JSON.parse(readFileSync(0, 'utf8'))
const folder = join(dirname(fileURLToPath(import.meta.url)), 'node_modules', library)
const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))

const open = {
  // The library that the format comes from, compiled from Rust.
  tokenizers: async () => {
    const { default: library } = await import('tokenizers')
    const t = library.Tokenizer.fromString(readFileSync(file, 'utf8'))
    return {
      encode: async (text) => (await t.encode(text, null, { addSpecialTokens: false })).getIds(),
      decode: (list) => t.decode(list, false),
    }
  },
  '@huggingface/tokenizers': async () => {
    const { Tokenizer } = await import('@huggingface/tokenizers')
    const t = new Tokenizer(JSON.parse(readFileSync(file, 'utf8')), {})
    return {
      encode: (text) => t.encode(text, { add_special_tokens: false }).ids,
      decode: (list) => t.decode(list, { skip_special_tokens: false, clean_up_tokenization_spaces: false }),
    }
  },
  'gpt-tokenizer': async () => {
    const t = await import(`gpt-tokenizer/encoding/${file}`)
    return { encode: (text) => t.encode(text), decode: (list) => t.decode(list) }
  },
}

const { encode, decode } = await open[library]()
const encoded = [], decoded = []
for (const text of texts) encoded.push(await encode(text))
for (const list of ids) decoded.push(await decode(list))
process.stdout.write(JSON.stringify({ version, encoded, decoded }))
