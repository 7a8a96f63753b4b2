// The same request as a command or a program, to copy.
import { button, element, say } from "./dom.js";

const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export function asCurl(request) {
  return (
    `curl ${location.origin}/v1/completions \\\n  -H "Content-Type: application/json" \\\n  ` +
    `-d ${shell(JSON.stringify(request))}`
  );
}

export function asPython(request) {
  const { model, prompt, ...settings } = request;
  // Texts and numbers are written alike in Python and JSON.
  const rest = Object.entries(settings)
    .map(([key, value]) => `    ${key}=${JSON.stringify(value)},\n`)
    .join("");
  return (
    `from openai import OpenAI\n\nclient = OpenAI(base_url="${location.origin}/v1", api_key="none")\n` +
    `answer = client.completions.create(\n    model=${JSON.stringify(model)},\n    ` +
    `prompt=${JSON.stringify(prompt)},\n${rest})\nprint(answer.choices[0].text)`
  );
}

export function asCommand(request, run, step) {
  const settings = {
    max_new_tokens: request.max_tokens,
    temperature: request.temperature,
    top_p: request.top_p < 1 ? request.top_p : null,
    top_k: 0,
    seed: request.seed,
    step,
  };
  const flags = Object.entries(settings).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const folder = shell(run.folder).replace(/^'([\w./-]+)'$/, "$1");
  const texts = ["prompt", "stop"].filter((key) => request[key] !== undefined);
  return [
    `gpt-research generate ${folder}`,
    // A text may begin with a dash, so it stands behind an equals sign.
    ...texts.map((key) => `--${key}=${shell(request[key])}`),
    ...flags.map(([key, value]) => `--${key} ${value}`),
  ].join(" ");
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied.`);
    return true;
  } catch {
    say("The browser does not let the page copy. Select the text and copy it yourself.");
    return false;
  }
}

export function copyButton(text, what, label = "Copy") {
  const made = button(
    label,
    async () => {
      made.textContent = (await copy(text(), what)) ? "Copied" : "Select and copy it";
      setTimeout(() => {
        made.textContent = label;
      }, 2000);
    },
    { class: "small", "aria-label": `${label}: ${what}` },
  );
  return made;
}

// A folded part with the request in three forms.
export function copyAs(forms) {
  const code = element("code");
  const bar = element("div", { class: "choices", role: "group", "aria-label": "Form" });
  const show = (name) => {
    for (const item of bar.children) item.setAttribute("aria-pressed", String(item.textContent === name));
    code.textContent = forms()[name];
  };
  for (const name of ["curl", "Python", "Command line"])
    bar.append(button(name, () => show(name), { "aria-pressed": "false" }));
  const made = element(
    "details",
    { class: "copy-as", ontoggle: () => made.open && show(chosen()) },
    element("summary", {}, "Copy as curl, Python or a command"),
    element(
      "div",
      { class: "row" },
      bar,
      copyButton(() => code.textContent, "Request"),
    ),
    element("pre", { tabindex: "0", role: "region", "aria-label": "The request" }, code),
  );
  const chosen = () =>
    [...bar.children].find((item) => item.getAttribute("aria-pressed") === "true")?.textContent ?? "curl";
  made.refresh = () => made.open && show(chosen());
  return made;
}
