// Cases in JavaScript, for tests/node_cases.py: they run in order in one process, and each answers one JSON line.

const cases = []

export function test(name, body) {
  cases.push({ name, body })
}

/**
 * Runs the cases, or those whose name matches; `after` follows each and is told its error. A line is {"name", "error",
 * "seconds"}, its error null when the case passed.
 */
export async function run({ only = /./, seconds = 60, after = async () => {} } = {}) {
  for (const { name, body } of cases.filter(({ name }) => only.test(name))) {
    const line = { name, error: null, seconds: 0 }
    const started = performance.now()
    let timer
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error('the case took too long')), seconds * 1000)
    })
    try {
      await Promise.race([body(), late])
    } catch (error) {
      line.error = error?.stack ?? JSON.stringify(error) ?? String(error)
    }
    clearTimeout(timer)
    line.seconds = (performance.now() - started) / 1000
    await after(line.error)
    process.stdout.write(JSON.stringify(line) + '\n')
  }
}
