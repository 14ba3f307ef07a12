import { VizOrientation, getDisplayValueAlignmentFactors, getFieldDisplayValues } from '@grafana/data';
import { BarGauge as Bar, VizRepeater } from '@grafana/ui';

import type { Drawn } from './drawn';

/** Bars with their numbers, drawn by Grafana's own component. */
export function BarGauge({ panel, frames, config, theme, timeZone, width, height, replace, note }: Drawn) {
  const options = panel.options ?? {};
  const values = getFieldDisplayValues({
    fieldConfig: config,
    reduceOptions: { calcs: ['lastNotNull'], ...options.reduceOptions },
    replaceVariables: replace,
    theme,
    data: frames,
    timeZone,
  });
  note({ values: values.map(({ display }) => ({ title: display.title, text: display.text, isTime: false })) });
  return (
    <VizRepeater
      getValues={() => values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={({ value, width: w, height: h, orientation, alignmentFactors }) => (
        <Bar
          value={value.display}
          field={value.field}
          display={value.view?.getFieldDisplayProcessor(value.colIndex!) ?? undefined}
          text={options.text}
          width={w}
          height={h}
          orientation={orientation}
          theme={theme}
          itemSpacing={8}
          lcdCellWidth={12}
          displayMode={options.displayMode ?? 'gradient'}
          showUnfilled={options.showUnfilled ?? true}
          valueDisplayMode={options.valueMode}
          namePlacement={options.namePlacement}
          alignmentFactors={alignmentFactors}
        />
      )}
      width={width}
      height={height}
      source={values}
      itemSpacing={10}
      renderCounter={0}
      minVizWidth={options.minVizWidth}
      minVizHeight={options.minVizHeight}
      maxVizHeight={options.maxVizHeight}
      orientation={options.orientation ?? VizOrientation.Horizontal}
    />
  );
}
