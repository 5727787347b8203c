// Streams an instructor's answer into the page. Without this script the form posts, and the page is loaded again.
"use strict";

(() => {
  const form = document.querySelector("form[data-chat]");
  if (!form || !window.fetch || !window.TextDecoder) return;
  const conversation = document.getElementById("conversation");
  const progress = document.getElementById("progress");
  const problem = document.getElementById("problem");
  const button = form.querySelector("button");
  const NOTES = { incomplete: "This answer was cut off.", failed: "There was no answer. Ask again." };
  const LOST = "The connection was lost. Load this page again to see what was stored.";

  // Texts are set as text, never as HTML.
  function add(role, name, label, text) {
    const message = document.createElement("article");
    const heading = message.appendChild(document.createElement("h3"));
    heading.textContent = name;
    if (label) {
      const small = document.createElement("span");
      small.className = "small";
      small.textContent = `(${label})`;
      heading.append(" ", small);
    }
    const body = message.appendChild(document.createElement("p"));
    body.className = "text";
    body.textContent = text;
    message.className = `message ${role}`;
    document.getElementById("empty")?.remove();
    conversation.append(message);
    return { message, body };
  }

  function fail(text) {
    problem.hidden = false;
    problem.firstElementChild.textContent = text;
  }

  // The same key again returns what is stored for it. A question that has arrived is followed by another one.
  function renewKey() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    form.elements.key.value = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  async function* events(stream) {
    const decoder = new TextDecoder();
    let rest = "";
    for (const reader = stream.getReader(); ; ) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const blocks = rest.split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? [];
        if (name) yield { name, data: JSON.parse(data) };
      }
    }
  }

  async function read(answer) {
    let reply = null;
    for await (const { name, data } of events(answer.body)) {
      if (name === "question") {
        add("student", "You", "", data.text);
        form.elements.text.value = "";
        renewKey();
      } else if (name === "delta") {
        if (!reply) {
          reply = add("instructor", form.dataset.name, form.dataset.label, "");
          reply.message.setAttribute("aria-busy", "true");  // read aloud when it is complete
        }
        reply.body.textContent += data.text;
      } else if (name === "answer") {
        reply ??= add("instructor", form.dataset.name, form.dataset.label, "");
        reply.body.textContent = data.text;
        reply.message.setAttribute("aria-busy", "false");
        if (NOTES[data.state]) fail(NOTES[data.state]);
        return true;
      }
    }
    reply?.message.setAttribute("aria-busy", "false");
    return false;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    problem.hidden = true;
    progress.textContent = `${form.dataset.name} is answering …`;
    try {
      const body = new URLSearchParams(new FormData(form));
      const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "text/event-stream" } });
      const kind = answer.headers.get("content-type") ?? "";
      if (kind.startsWith("text/event-stream")) {
        if (!(await read(answer))) fail(LOST);
      } else if (kind.startsWith("application/problem+json")) {
        fail((await answer.json()).detail);
        renewKey();
      } else {
        fail("Your session has ended. Load this page again.");
      }
    } catch {
      fail(LOST);
    } finally {
      progress.textContent = "";
      button.disabled = false;
      form.elements.text.focus();
    }
  });
})();
