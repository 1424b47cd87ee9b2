// Reads an answer and knows whether it is whole, with Node 18 or newer, and nothing installed.
//
//   node whole-answer.mjs URL TOKEN PURPOSE
//
// Prints the answer; ends with 1 where it was cut. `fetch` shows no trailers, so a closing line is asked for.
import { createHash } from "node:crypto";

const [url, token, purpose] = process.argv.slice(2);
const LINE = '\n{"sharing-closing":';

function whole(answer, content) {
  if (answer.headers.get("Sharing-Closing") !== "line") return content;
  const at = content.lastIndexOf(LINE);
  if (at < 0) throw new Error("the answer was cut");
  const closing = JSON.parse(content.subarray(at).toString("utf8"))["sharing-closing"];
  const before = content.subarray(0, at);
  if (createHash("sha256").update(before).digest("base64") !== closing["sha-256"]) throw new Error("the answer was cut");
  return before;
}

try {
  const answer = await fetch(url, {
    headers: { Authorization: `Bearer ${token}`, "Sharing-Purpose": purpose, "Sharing-Closing": "line" },
  });
  process.stdout.write(whole(answer, Buffer.from(await answer.arrayBuffer())));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
