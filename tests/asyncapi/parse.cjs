// Prints one JSON line for each document named: its version, its channels, and what the parser has to say of it.
const fs = require("node:fs");
const path = require("node:path");

const { Parser } = require(path.join(process.cwd(), "node_modules", "@asyncapi", "parser"));

(async () => {
  for (const file of process.argv.slice(2)) {
    const { document, diagnostics } = await new Parser().parse(fs.readFileSync(file, "utf8"));
    console.log(JSON.stringify({
      version: document ? document.version() : null,
      channels: document ? document.channels().all().map((channel) => channel.address()) : [],
      said: diagnostics.map(({ severity, code, message, path: where }) => ({ severity, code, message, where: where.join(".") })),
    }));
  }
})();
