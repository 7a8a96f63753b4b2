// The state of the page is in its address, after the #: "#/write?run=demo&prompt=ROMEO". So reload, bookmarks and the
// back button work, and the server learns nothing of it.

export function here(hash = location.hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  return { view: decodeURIComponent(path), values: Object.fromEntries(new URLSearchParams(query)) };
}

export function address(view, values) {
  const kept = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(kept.map(([key, value]) => [key, String(value)])).toString();
  return `#/${view}${query ? `?${query}` : ""}`;
}

// Goes to another place: the back button returns from it.
export function go(view, values) {
  const target = address(view, values);
  if (target === location.hash) dispatchEvent(new HashChangeEvent("hashchange"));
  else location.hash = target;
}

// Writes another address in place of this one, so that the back button does not stop here. Returns it as it now stands.
export function replace(target) {
  history.replaceState(null, "", target);
  return location.hash;
}
