// Makes runnable modules of the JavaScript and TypeScript blocks: node prepare.mjs PROJECT < [{name, kind}, …]
//
// Each block is PROJECT/lib/NAME.KIND, its lines at the numbers they have in the document. What it uses without
// declaring is imported from scene.ts, by its first line; what it declares is exported by its last one, so that the
// runner can look at it. All of it is then checked by TypeScript (strict) and transpiled. Answers JSON:
// {complaints: [{file, line, words}], declared: {file: [names]}}.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import ts from 'typescript'

const project = process.argv[2]
const files = JSON.parse(readFileSync(0, 'utf8')).map((file) => path.join(project, 'lib', file))
const config = ts.parseJsonConfigFileContent(
  ts.readConfigFile(path.join(project, 'tsconfig.json'), ts.sys.readFile).config,
  ts.sys,
  project,
)
const UNKNOWN_NAME = new Set([2304, 2552, 18004])
const words = (diagnostic) => ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n')

function missingNames(file) {
  const source = program.getSourceFile(file)
  const found = program.getSemanticDiagnostics(source).filter(({ code }) => UNKNOWN_NAME.has(code))
  return [...new Set(found.map(({ start, length }) => source.text.slice(start, start + length)))]
}

function declaredConstants(file) {
  const names = []
  const add = (name) => (ts.isIdentifier(name) ? names.push(name.text) : name.elements.forEach((one) => one.name && add(one.name)))
  for (const statement of program.getSourceFile(file).statements) {
    if (!ts.isVariableStatement(statement) || !(statement.declarationList.flags & ts.NodeFlags.Const)) continue
    if (statement.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)) continue
    for (const { name } of statement.declarationList.declarations) add(name)
  }
  return names
}

// A module from the start: a block without imports would be a script, and share its names with the others.
for (const file of files) writeFileSync(file, readFileSync(file, 'utf8').trimEnd() + '\nexport {};\n')
const scene = path.join(project, 'lib', 'scene.ts')
const globals = path.join(project, 'process.d.ts')
const host = ts.createCompilerHost(config.options)
const parse = host.getSourceFile
const parsed = new Map()
host.getSourceFile = (file, ...rest) => {
  if (files.includes(file)) return parse(file, ...rest) // changes between the two programs
  if (!parsed.has(file)) parsed.set(file, parse(file, ...rest))
  return parsed.get(file)
}
let program = ts.createProgram([...files, scene, globals], config.options, host)
const checker = program.getTypeChecker()
const offered = new Set(checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(scene))).map(({ name }) => name))
const complaints = []
const declared = {}
for (const file of files) {
  const missing = missingNames(file)
  for (const name of missing.filter((name) => !offered.has(name)))
    complaints.push({ file: path.basename(file), line: 0, words: `it uses \`${name}\`, which tests/docs/node/scene.ts does not offer` })
  const names = (declared[path.basename(file)] = declaredConstants(file))
  const [first, ...rest] = readFileSync(file, 'utf8').split('\n')
  const wanted = missing.filter((name) => offered.has(name))
  const head = wanted.length ? `import { ${wanted.join(', ')} } from "./scene";` : ''
  const text = [head + first, ...rest].join('\n').replace(/\nexport \{\};\n$/, `\nexport { ${names.join(', ')} };\n`)
  writeFileSync(file, text)
}
program = ts.createProgram([...files, scene, globals], config.options, host)
for (const diagnostic of ts.getPreEmitDiagnostics(program)) {
  const { file, start } = diagnostic
  const line = file && file.getLineAndCharacterOfPosition(start).line + 1
  complaints.push({ file: file ? path.basename(file.fileName) : 'tsconfig.json', line, words: `TS${diagnostic.code}: ${words(diagnostic)}` })
}
for (const file of [...files, scene]) {
  const { outputText } = ts.transpileModule(readFileSync(file, 'utf8'), {
    fileName: file,
    compilerOptions: { ...config.options, noEmit: false, inlineSourceMap: true, inlineSources: true },
  })
  writeFileSync(file.replace(/\.\w+$/, '.mjs'), outputText)
}
process.stdout.write(JSON.stringify({ complaints, declared }))
