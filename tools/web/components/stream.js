const first = 500, last = 8000;

// stream listens to server-sent events: handlers is by their names, with their JSON. connected is
// told whether the server is there. The connection is made again until the function that is
// returned is called.
export function stream(url, handlers, connected) {
  let source, timer, wait = first;
  const open = () => {
    source = new EventSource(url);
    source.onopen = () => {
      wait = first;
      connected(true);
    };
    source.onerror = () => {
      source.close();
      connected(false);
      timer = setTimeout(open, wait);
      wait = Math.min(wait * 2, last);
    };
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (e) => handle(JSON.parse(e.data)));
    }
  };
  open();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}
