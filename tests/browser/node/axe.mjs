import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

const ALL = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']
const OF_COLOURS = ['color-contrast', 'link-in-text-block']

/** Violations of these rules that axe-core finds, as readable text; at least so many rules must have found something right. */
export async function violations(page, rules = ALL, least = 20) {
  if (await page.evaluate(() => !('axe' in window))) await page.evaluate(AXE)
  return page.evaluate(
    async ({ rules, least }) => {
      const { violations, passes } = await axe.run({ runOnly: rules, resultTypes: ['violations'] })
      if (violations.length + passes.length < least) throw new Error('axe has looked at nothing')
      return violations.map(
        ({ id, nodes }) =>
          `${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join('; ')}`,
      )
    },
    { rules, least },
  )
}

/**
 * Those by day, and of the other scheme those of the colours, which are all that changes. Without reducedMotion, colours in
 * transition would have the contrast of the moment.
 */
export async function violationsInBothSchemes(page) {
  const found = []
  for (const [colorScheme, ...rules] of [
    ['light', ALL, 20],
    ['dark', OF_COLOURS, 1],
  ]) {
    await page.emulateMedia({ colorScheme })
    found.push(...(await violations(page, ...rules)).map((violation) => `${colorScheme}: ${violation}`))
  }
  return found
}
