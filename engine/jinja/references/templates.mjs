// Prints real chat templates as {name: text}. @huggingface/ollama-utils has a table of them for its own use, which it does not
// export: the table is a JavaScript value within its source.
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runInNewContext } from 'node:vm'

const here = dirname(fileURLToPath(import.meta.url))
const source = readFileSync(join(here, 'node_modules/@huggingface/ollama-utils/src/chat-template-automap.ts'), 'utf8')
const table = runInNewContext(source.slice(source.indexOf('= [') + 2).replace(/;\s*$/, ''))
process.stdout.write(JSON.stringify(Object.fromEntries(table.map(({ model, gguf }, i) => [`${i} ${model.replace('library/', '')}`, gguf]))))
