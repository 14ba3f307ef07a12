import { FieldType, formattedValueToString, getFieldSeriesColor } from '@grafana/data';
import { LegendDisplayMode, VizLegend } from '@grafana/ui';

import type { Drawn } from './drawn';
import { isShown, nameOf } from './fields';
import { Nothing } from './nothing';

/** Bars for each row, horizontal or vertical, beside each other or stacked. */
export function BarChart(drawn: Drawn) {
  const { panel, frames, theme, width, height } = drawn;
  const frame = frames[0];
  const options = panel.options ?? {};
  const x = frame?.fields.find((field) => nameOf(field) === options.xField) ?? frame?.fields.find(({ type }) => type === FieldType.string);
  const fields = frame?.fields.filter((field) => field !== x && isShown(field)) ?? [];
  if (!frame || frame.length === 0 || fields.length === 0) {
    return <Nothing {...drawn} />;
  }
  const stacked = options.stacking && options.stacking !== 'none';
  const rows = Array.from({ length: frame.length }, (_, row) => ({
    name: x ? formattedValueToString(x.display!(x.values[row])) : String(row),
    values: fields.map((field) => Number(field.values[row] ?? 0)),
  }));
  const total = (values: number[]) => (stacked ? values.reduce((a, b) => a + Math.max(0, b), 0) : Math.max(0, ...values));
  const most = fields[0].config.max ?? (Math.max(...rows.map(({ values }) => total(values))) || 1);
  const legend = options.legend?.showLegend !== false ? 26 : 0;
  const label = Math.min(width * 0.35, 12 + 7 * Math.max(...rows.map(({ name }) => name.length)));
  const band = (height - legend - 4) / rows.length;
  const named = Math.ceil(14 / band);
  const color = (at: number, row: number) => {
    const field = fields[at];
    return field.config.color?.mode === 'thresholds' ? field.display!(field.values[row]).color : getFieldSeriesColor(field, theme).color;
  };
  const letters = Math.floor((label - 8) / 7.4);
  const room = width - label - 56;
  return (
    <div style={{ width, height }}>
      <svg width={width} height={height - legend}>
        {rows.map(({ name, values }, row) => {
          const thick = Math.min(28, band * 0.8);
          const top = row * band + (band - thick) / 2;
          let from = label;
          const each = stacked ? thick : thick / values.length;
          return (
            <g key={row}>
              {row % named === 0 && (
                <text x={label - 6} y={top + thick / 2 + 4} textAnchor="end" fontSize={12} fill={theme.colors.text.primary} data-cut={name.length > letters ? '' : undefined}>
                  {name.length > letters ? `${name.slice(0, letters - 1)}…` : name}
                </text>
              )}
              {values.map((value, at) => {
                const length = (Math.max(0, value) / most) * room;
                const left = stacked ? from : label;
                from += length;
                const text = formattedValueToString(fields[at].display!(fields[at].values[row]));
                return (
                  <g key={at}>
                    <rect x={left} y={stacked ? top : top + at * each} width={length} height={Math.max(1, each - 1)} fill={color(at, row)} fillOpacity={0.8} />
                    {options.showValue !== 'never' && each >= 9 && value !== 0 && !(stacked && length < 30) && (
                      <text x={stacked ? left + length / 2 : left + length + 4} y={(stacked ? top : top + at * each) + each / 2 + 4} fontSize={11} textAnchor={stacked ? 'middle' : 'start'} fill={theme.colors.text.primary}>
                        {text}
                      </text>
                    )}
                  </g>
                );
              })}
            </g>
          );
        })}
      </svg>
      {legend > 0 && (
        <VizLegend
          placement="bottom"
          displayMode={LegendDisplayMode.List}
          items={fields.map((field, at) => ({ label: nameOf(field), color: color(at, 0), yAxis: 1 }))}
        />
      )}
    </div>
  );
}
