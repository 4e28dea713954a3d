// ---- the stream of snapshots ----
// fetch rather than EventSource, which cannot send a header: the token must not stand in an address.

const SILENCE_SECONDS = 6; // a snapshot comes each second
const WAITS = [1, 2, 4, 8, 15]; // seconds before the next try

class Stream {
  /** handlers: snapshot(data), state(name, detail): "connecting", "open", "waiting" (detail: seconds, why), "token" (detail: refused). */
  constructor(handlers) {
    this.handlers = handlers;
    this.failed = 0;
    this.token = null;
    this.timer = null;
  }

  start(token) {
    this.token = token;
    this.stop();
    this.open();
  }

  stop() {
    clearTimeout(this.timer);
    clearInterval(this.timer);
    this.abort?.abort();
    this.abort = null;
  }

  async open() {
    const abort = (this.abort = new AbortController());
    let silence = null;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => abort.abort(), SILENCE_SECONDS * 1000);
    };
    this.handlers.state("connecting");
    let why = "no answer";
    try {
      heard();
      const response = await fetch("/events", {
        headers: this.token ? { Authorization: "Bearer " + this.token } : {}, cache: "no-store", signal: abort.signal,
      });
      if (response.status === 401) {
        clearTimeout(silence);
        this.handlers.state("token", this.token !== null);
        return;
      }
      if (!response.ok) {
        const said = await response.json().catch(() => ({}));
        why = said.error ?? "status " + response.status;
      } else {
        await this.read(response.body.getReader(), heard);
        why = "the stream ended";
      }
    } catch (error) {
      if (this.abort !== abort) {
        clearTimeout(silence);
        return; // stopped, or started anew
      }
      if (!(error instanceof TypeError) && error.name !== "AbortError") console.error(error);
      why = error.name === "AbortError" ? "nothing came for a while" : "no answer";
    }
    clearTimeout(silence);
    if (this.abort === abort) this.wait(why);
  }

  async read(reader, heard) {
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      text += decoder.decode(value, { stream: true });
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        this.event(text.slice(0, end));
        text = text.slice(end + 2);
      }
      if (text.length > 4e6) throw new TypeError("an event without end");
    }
  }

  event(block) {
    let name = "", data = "";
    for (const line of block.split("\n")) {
      if (line.startsWith("event: ")) name = line.slice(7);
      else if (line.startsWith("data: ")) data += line.slice(6);
    }
    if (name !== "snapshot") return;
    if (this.failed >= 0) this.handlers.state("open");
    this.failed = 0;
    this.handlers.snapshot(JSON.parse(data));
  }

  wait(why) {
    let left = WAITS[Math.min(this.failed++, WAITS.length - 1)];
    this.handlers.state("waiting", { left, why });
    this.timer = setInterval(() => {
      if (--left > 0) this.handlers.state("waiting", { left, why });
      else {
        clearInterval(this.timer);
        this.open();
      }
    }, 1000);
  }
}
