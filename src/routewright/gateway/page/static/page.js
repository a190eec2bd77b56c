"use strict";
// The page's own script: parts that renew themselves, times in the reader's own zone, the playground. It keeps no key
// beyond this tab, and writes other people's text as text, never as markup.

function told(root) {
  const kinds = {
    time: { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" },
    full: { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" },
    day: { hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
  };
  for (const one of root.querySelectorAll("time[datetime]")) {
    const at = new Date(one.dateTime);
    const kind = one.dataset.kind || "time";
    const other = kind !== "full" && at.toDateString() !== new Date().toDateString();
    const options = other ? { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" } : kinds[kind];
    one.textContent = at.toLocaleString(undefined, options);
    one.title = at.toLocaleString();
  }
}

const light = document.querySelector("[data-live]");

async function renew(part) {
  // Not while somebody reads with the keyboard, selects, or is about to click.
  const chosen = getSelection();
  const selects = !chosen.isCollapsed && part.contains(chosen.anchorNode);
  if (document.hidden || selects || part.contains(document.activeElement) || part.querySelector("tr:active")) return;
  try {
    const answer = await fetch(part.dataset.part, { credentials: "same-origin", headers: { accept: "text/html" } });
    if (answer.status === 401) return location.reload();
    if (!answer.ok) throw new Error(String(answer.status));
    // Made by our own server, every name in it escaped; scripts in it would not run.
    const made = new DOMParser().parseFromString(await answer.text(), "text/html");
    told(made);
    part.replaceChildren(...made.body.childNodes);
    light?.classList.replace("off", "on") || light?.classList.add("on");
  } catch {
    light?.classList.remove("on");
    light?.classList.add("off");
  }
}

for (const part of document.querySelectorAll("[data-part]")) {
  (async function again() {
    for (;;) {
      await new Promise((done) => setTimeout(done, 1000 * Number(part.dataset.every)));
      await renew(part);
    }
  })();
}

document.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-href]");
  if (row && !event.target.closest("a")) location.assign(row.dataset.href);
});

function playground(form) {
  const box = document.querySelector("[data-answer]");
  const find = (name) => box.querySelector(`[data-${name}]`);
  const state = form.querySelector("[data-state]");
  const stop = form.querySelector("[data-stop]");
  const send = form.querySelector("button[type=submit]");
  const key = form.elements.key;
  if (key) {
    key.value = sessionStorage.getItem("routewright-key") || "";
    key.addEventListener("change", () => sessionStorage.setItem("routewright-key", key.value));
  }
  let going = null;
  stop.addEventListener("click", () => going?.abort());
  form.elements.message.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });

  function routed(routing) {
    const list = find("routing");
    list.replaceChildren();
    const usd = (value) => `$${Number(value).toPrecision(3)}`;
    const facts = [
      ["answered by", routing.model],
      ["called", (routing.models || []).length > 1 ? routing.models.join(", ") : ""],
      ["policy", routing.policy],
      ["why", (routing.steps || []).map((step) => step.reason).filter(Boolean).join("; ")],
      ["cost", usd(routing.cost_usd)],
      ["took", `${(1000 * routing.latency_s).toFixed(0)} ms`],
      ["probability", routing.probability],
      ["fallback", routing.fallback],
    ];
    for (const [name, value] of facts) {
      if (value === null || value === undefined || value === "") continue;
      const term = document.createElement("dt");
      const fact = document.createElement("dd");
      term.textContent = name;
      fact.textContent = value;
      list.append(term, fact);
    }
    if (/^[0-9a-f]{32}$/.test(routing.trace_id)) {
      const term = document.createElement("dt");
      const fact = document.createElement("dd");
      const link = document.createElement("a");
      term.textContent = "trace";
      link.href = `/ui/traces/${routing.trace_id}`;
      link.textContent = routing.trace_id;
      fact.append(link);
      list.append(term, fact);
    }
    const raw = find("raw");
    raw.hidden = false;
    raw.querySelector("pre").textContent = JSON.stringify(routing, null, 2);
  }

  function line(text) {
    if (text.startsWith(":")) {
      find("progress").textContent += text.slice(1).trim() + "\n";
      return;
    }
    if (!text.startsWith("data:")) return;
    const data = text.slice(5).trim();
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Error(chunk.error.message);
    for (const choice of chunk.choices || []) find("text").textContent += choice.delta?.content || "";
    if (chunk.routing) routed(chunk.routing);
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    going = new AbortController();
    box.hidden = false;
    for (const name of ["progress", "text", "routing"]) find(name).replaceChildren();
    find("text").classList.remove("failed");
    find("raw").hidden = true;
    send.disabled = true;
    stop.hidden = false;
    state.textContent = "asking …";
    const headers = { "content-type": "application/json" };
    if (key && key.value) headers.authorization = `Bearer ${key.value}`;
    const body = {
      model: form.elements.model.value,
      messages: [{ role: "user", content: form.elements.message.value }],
      stream: true,
      stream_options: { include_usage: true },
      routing: { explain: true },
    };
    try {
      const answer = await fetch("/v1/chat/completions", {
        method: "POST", headers, body: JSON.stringify(body), signal: going.signal, credentials: "omit",
      });
      if (!answer.ok) {
        const said = await answer.json().catch(() => null);
        throw new Error(said?.error?.message || `status ${answer.status}`);
      }
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        lines.forEach(line);
      }
      state.textContent = "done";
    } catch (error) {
      if (error.name === "AbortError") {
        state.textContent = "stopped";
      } else {
        state.textContent = "";
        find("text").classList.add("failed");
        find("text").append(document.createTextNode(error.message));
      }
    } finally {
      send.disabled = false;
      stop.hidden = true;
      going = null;
      document.querySelectorAll("[data-part]").forEach(renew);
    }
  });
}

told(document);
document.querySelectorAll("form[data-playground]").forEach(playground);
light?.classList.add("on");
