// Encode texts with transformers.js under Node, from the Hub at HF_ENDPOINT; run by bench/compat.py.
//
//   node transformers_js_vectors.mjs MODULE REPO TEXTS.json VECTORS.json DTYPE CACHE
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [module, repo, texts, out, dtype, cache] = process.argv.slice(2);
const { env, pipeline } = await import(pathToFileURL(module).href);
env.remoteHost = `${process.env.HF_ENDPOINT}/`;
env.allowLocalModels = false;
env.cacheDir = cache;
// transformers.js sends HF_TOKEN to huggingface.co alone; a private repo on another host needs this.
env.fetch = (url, options = {}) => {
  const headers = new Headers(options.headers);
  headers.set("Authorization", `Bearer ${process.env.HF_TOKEN}`);
  return fetch(url, { ...options, headers });
};

const extract = await pipeline("feature-extraction", repo, { dtype, device: "cpu" });
// One by one: in a batch a quantized graph rounds every text by the largest value of all, padding included.
const vectors = [];
for (const text of JSON.parse(readFileSync(texts, "utf-8"))) {
  const vector = await extract(text, { pooling: "mean", normalize: true });
  vectors.push(vector.tolist()[0]);
}
writeFileSync(out, JSON.stringify(vectors));
