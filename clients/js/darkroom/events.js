/**
 * Reads a `text/event-stream`. EventSource would do, if it could send an Authorization header.
 * @param {ReadableStream<Uint8Array>} body
 * @param {() => void} alive called for every chunk, pings included
 */
export async function* readEvents(body, alive) {
  const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  let buffer = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      buffer += value;
      // A chunk may end between the two halves of \r\n: such a tail waits for the next one.
      const blocks = buffer.replace(/\r\n/g, "\n").split("\n\n");
      buffer = /** @type {string} */ (blocks.pop());
      for (const block of blocks) {
        /** @type {{type: string, data: string, id?: string}} */
        const event = { type: "message", data: "" };
        for (const line of block.split("\n")) {
          const [, field, text] = /^(\w+): ?(.*)$/.exec(line) ?? []; // a comment starts with the colon
          if (field === "data") event.data += (event.data && "\n") + text;
          if (field === "event") event.type = text;
          if (field === "id") event.id = text;
        }
        if (event.data) yield event;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
