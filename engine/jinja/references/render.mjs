// Renders chat templates with another implementation of Jinja. Reads from standard input
//   {"templates": {name: text}, "conversations": [{…variables…}, …], "chosen": {name: [index, …]}, "now": milliseconds}
// and writes {"version", "rendered": {name: [{"text"} or {"error"}, …]}}.
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Template } from '@huggingface/jinja'

const { templates, conversations, chosen, now } = JSON.parse(readFileSync(0, 'utf8'))
const here = dirname(fileURLToPath(import.meta.url))
const { version } = JSON.parse(readFileSync(join(here, 'node_modules/@huggingface/jinja/package.json'), 'utf8'))
globalThis.Date = class extends Date { // templates ask for the date of today
  constructor(...of) {
    super(...(of.length ? of : [now]))
  }
}
const rendered = {}
for (const [name, text] of Object.entries(templates)) {
  const template = new Template(text)
  rendered[name] = chosen[name].map((index) => {
    try {
      return { text: template.render(structuredClone(conversations[index])) }
    } catch (e) {
      return { error: String(e.message ?? e) }
    }
  })
}
process.stdout.write(JSON.stringify({ version, rendered }))
