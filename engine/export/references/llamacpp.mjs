// Opens GGUF files with llama.cpp and says what it sees. Standard input is a JSON list of {model, lora, texts, prompts, tokens}:
// paths of a model and of an adapter or "", texts to make tokens of, prompts as token ids, and how many tokens to continue each.
// Standard output is a JSON list of what each model gave.
import { readFileSync } from "node:fs";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";

const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error, skipDownload: true });
const results = [];
for (const job of JSON.parse(readFileSync(0, "utf8"))) {
  const result = { error: "" };
  try {
    const model = await llama.loadModel({ modelPath: job.model, gpuLayers: 0, useMmap: false });
    result.ids = job.texts.map((text) => Array.from(model.tokenize(text, true)));
    const metadata = model.fileInfo.metadata;
    result.architecture = metadata.general.architecture;
    result.template = metadata.tokenizer?.chat_template ?? "";
    result.bos = model.tokens.bos;
    result.eos = model.tokens.eos;
    result.eot = model.tokens.eot;
    result.prependsBOS = model.tokens.shouldPrependBosToken;
    result.stops = job.stops.map((id) => model.isEogToken(id));
    result.outputs = [];
    for (const prompt of job.prompts) {
      const context = await model.createContext({ contextSize: 256, threads: 1, lora: job.lora || undefined });
      const sequence = context.getSequence();
      const output = [];
      for await (const token of sequence.evaluate(prompt, { temperature: 0 })) {
        output.push(token);
        if (output.length >= job.tokens) break;
      }
      result.outputs.push(output);
      await context.dispose();
    }
    await model.dispose();
  } catch (error) {
    result.error = String(error?.message ?? error);
  }
  results.push(result);
}
process.stdout.write(JSON.stringify(results));
process.exit(0);
