// The search of the site, when it is opened from a file. A browser starts no worker from a file, so the worker's
// script runs in a hidden frame instead. The theme expects a class with the interface of Worker.
if (location.protocol === "file:") {
  window.Worker = class FrameWorker extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.append(this.frame)
      const inside = this.frame.contentWindow
      inside.document.open()
      inside.document.write("<!doctype html><body></body>")
      inside.document.close()
      inside.postMessage = data => this.receive(data)
      this.load(url).then(() => {
        for (const data of this.waiting) this.deliver(data)
        this.waiting = null
      })
    }

    // Run a script in the frame.
    load(url) {
      return new Promise((done, failed) => {
        const script = this.frame.contentDocument.createElement("script")
        script.src = new URL(url, document.baseURI).href
        script.onload = done
        script.onerror = failed
        this.frame.contentDocument.body.append(script)
      })
    }

    // Hand a message of the page to the script, once the script runs.
    postMessage(data) {
      if (this.waiting) this.waiting.push(data)
      else this.deliver(data)
    }

    deliver(data) {
      const inside = this.frame.contentWindow
      inside.dispatchEvent(new inside.MessageEvent("message", { data }))
    }

    // Hand a message of the script to the page.
    receive(data) {
      const message = new MessageEvent("message", { data })
      this.dispatchEvent(message)
      if (this.onmessage) this.onmessage(message)
    }

    terminate() {
      this.frame.remove()
    }
  }
}
