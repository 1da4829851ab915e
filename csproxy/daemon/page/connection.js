// Requests with the token, which only sessionStorage keeps, and the stream of events: EventSource can send no header.

const KEY = "csproxy-token";
const SILENT_MS = 15000;

export class NeedsToken extends Error {}

export const keepToken = (token) => sessionStorage.setItem(KEY, token);
export const hasToken = () => sessionStorage.getItem(KEY) !== null;

export async function ask(path, options = {}) {
  const token = sessionStorage.getItem(KEY);
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  const answer = await fetch(path, { headers, cache: "no-store", credentials: "omit", ...options });
  if (answer.status === 401) throw new NeedsToken();
  if (!answer.ok) throw new Error((await answer.text()).trim() || `the server answers ${answer.status}`);
  return answer;
}

// Calls take(event, data) for each event until the stream ends; a stream that falls silent is given up.
export async function events(path, take) {
  const stop = new AbortController();
  let timer = setTimeout(() => stop.abort(), SILENT_MS);
  try {
    const answer = await ask(path, { signal: stop.signal });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let held = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => stop.abort(), SILENT_MS);
      const parts = (held + value).split("\n\n");
      held = parts.pop();
      for (const part of parts) take(...parsed(part));
    }
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
}

function parsed(text) {
  const fields = new Map(text.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trimStart()]));
  return [fields.get("event"), JSON.parse(fields.get("data"))];
}
