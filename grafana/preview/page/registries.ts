// Grafana's application fills these registries, its packages ship them empty.
import {
  type FieldConfigPropertyItem,
  type FieldConfigSource,
  Registry,
  dataLinksOverrideProcessor,
  displayNameOverrideProcessor,
  identityOverrideProcessor,
  numberOverrideProcessor,
  standardFieldConfigEditorRegistry,
  standardTransformers,
  standardTransformersRegistry,
  thresholdsOverrideProcessor,
  valueMappingsOverrideProcessor,
} from '@grafana/data';

type Processor = FieldConfigPropertyItem['process'];

const STANDARD: Record<string, Processor> = {
  displayName: displayNameOverrideProcessor as Processor,
  unit: identityOverrideProcessor,
  min: numberOverrideProcessor as Processor,
  max: numberOverrideProcessor as Processor,
  fieldMinMax: identityOverrideProcessor,
  decimals: numberOverrideProcessor as Processor,
  color: identityOverrideProcessor,
  noValue: displayNameOverrideProcessor as Processor,
  links: dataLinksOverrideProcessor as Processor,
  actions: identityOverrideProcessor,
  mappings: valueMappingsOverrideProcessor as Processor,
  thresholds: thresholdsOverrideProcessor as Processor,
  filterable: identityOverrideProcessor,
  description: identityOverrideProcessor,
};

// The defaults of Grafana's core panels.
const GRAPH = {
  drawStyle: 'line',
  lineInterpolation: 'linear',
  lineWidth: 1,
  fillOpacity: 0,
  gradientMode: 'none',
  pointSize: 5,
  showPoints: 'auto',
  spanNulls: false,
  insertNulls: false,
  barAlignment: 0,
  barWidthFactor: 0.6,
  axisPlacement: 'auto',
  axisColorMode: 'text',
  axisBorderShow: false,
  axisLabel: '',
  axisCenteredZero: false,
  scaleDistribution: { type: 'linear' },
  stacking: { mode: 'none', group: 'A' },
  thresholdsStyle: { mode: 'off' },
  hideFrom: { tooltip: false, viz: false, legend: false },
};

const CUSTOM: Record<string, Record<string, unknown>> = {
  timeseries: GRAPH,
  candlestick: { ...GRAPH, spanNulls: true },
  'state-timeline': { lineWidth: 0, fillOpacity: 70, hideFrom: GRAPH.hideFrom },
  barchart: { ...GRAPH, lineWidth: 1, fillOpacity: 80 },
  table: { align: 'auto', cellOptions: { type: 'auto' }, filterable: false, inspect: false, minWidth: 50 },
};

function item(id: string, process: Processor, custom: boolean): FieldConfigPropertyItem {
  return {
    id,
    name: id,
    path: custom ? id.replace(/^custom\./, '') : id,
    isCustom: custom,
    process,
    shouldApply: () => true,
    override: () => null,
    editor: () => null,
  } as unknown as FieldConfigPropertyItem;
}

/** The options that fields of a panel have: the standard ones, the core panel's, and those that its JSON names. */
export function optionsOf(type: string, source: FieldConfigSource): Registry<FieldConfigPropertyItem> {
  const custom = new Set(Object.keys(CUSTOM[type] ?? {}));
  Object.keys((source.defaults?.custom as object) ?? {}).forEach((name) => custom.add(name));
  for (const rule of source.overrides ?? []) {
    rule.properties.filter(({ id }) => id.startsWith('custom.')).forEach(({ id }) => custom.add(id.slice(7)));
  }
  return new Registry(() => [
    ...Object.entries(STANDARD).map(([id, process]) => item(id, process, false)),
    ...[...custom].map((name) => item(`custom.${name}`, identityOverrideProcessor, true)),
  ]);
}

/** The field configuration of a panel as Grafana keeps it: with the core panel's defaults, and -Infinity for null. */
export function completed(type: string, source: FieldConfigSource | undefined): FieldConfigSource {
  const copy = structuredClone(source ?? { defaults: {}, overrides: [] });
  copy.overrides ??= [];
  copy.defaults ??= {};
  copy.defaults.custom = { ...CUSTOM[type], ...(copy.defaults.custom as object) };
  const all = [copy.defaults.thresholds, ...copy.overrides.flatMap((rule) => rule.properties.map(({ value }) => value))];
  for (const one of all) {
    if (one && Array.isArray((one as any).steps)) {
      for (const step of (one as any).steps) {
        step.value = step.value ?? -Infinity;
      }
    }
  }
  return copy;
}

export function fillRegistries(): void {
  standardFieldConfigEditorRegistry.setInit(() => Object.entries(STANDARD).map(([id, one]) => item(id, one, false)) as any);
  standardTransformersRegistry.setInit(() =>
    [...new Map(Object.values(standardTransformers).map((each) => [each.id, each])).values()].map(
      (transformation) => ({ id: transformation.id, name: transformation.name, transformation: () => transformation }) as any
    )
  );
}
